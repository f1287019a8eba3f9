#include "coordinator/export/export_gguf.h"

#include <cstring>
#include <unordered_map>
#include <utility>

#include "common/base/files.h"
#include "common/model/errors.h"
#include "common/model/load_release.h"
#include "common/safetensors/float_convert.h"
#include "coordinator/export/gguf_file.h"
#include "coordinator/export/gguf_layout.h"
#include "coordinator/export/gguf_restore.h"
#include "coordinator/export/mixture_tensors.h"
#include "coordinator/export/pending_output.h"
#include "coordinator/export/reference_logits.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

class Exporter {
 public:
  Exporter(const MixtureTensors& tensors, const GgufExportOptions& options)
      : tensors_(tensors), options_(options) {
    for (size_t i = 0; i < tensors.specs().size(); ++i) {
      index_.emplace(tensors.specs()[i].name, i);
    }
  }

  StatusOr<std::vector<GgufPart>> Plan(const GgufModel& model) const {
    return PlanGguf(
        model,
        [this](const std::string& name) -> const safetensors::TensorSpec* {
          const auto found = index_.find(name);
          return found == index_.end() ? nullptr
                                       : &tensors_.specs()[found->second];
        });
  }

  Status Write(const std::vector<GgufPart>& parts, int64_t head_dim,
               gguf::Writer& writer) const {
    for (size_t i = 0; i < parts.size(); ++i) {
      if (options_.load.cancellation != nullptr) {
        RETURN_IF_ERROR(options_.load.cancellation->Check());
      }
      RETURN_IF_ERROR(WritePart(parts[i], head_dim, writer));
      if (options_.on_progress) {
        options_.on_progress(0.1 + 0.5 * static_cast<double>(i + 1) /
                                       static_cast<double>(parts.size()),
                             "writing");
      }
    }
    return writer.Finish();
  }

 private:
  Status WritePart(const GgufPart& part, int64_t head_dim,
                   gguf::Writer& writer) const {
    if (!part.values.empty()) {
      return writer.Append(std::as_bytes(std::span(part.values)));
    }
    for (const std::string& source : part.sources) {
      const size_t index = index_.at(source);
      const safetensors::DType dtype = tensors_.specs()[index].dtype;
      const bool widen = part.tensor.type == gguf::Type::kF32 &&
                         dtype != safetensors::DType::kF32;
      if (part.heads == 0 && !widen) {
        RETURN_IF_ERROR(
            tensors_.Emit(index, [&](std::span<const std::byte> bytes) {
              return writer.Append(bytes);
            }));
        continue;
      }
      // Norms, and the projections whose rows change places.
      Bytes bytes;
      RETURN_IF_ERROR(
          tensors_.Emit(index, [&](std::span<const std::byte> piece) {
            bytes.insert(bytes.end(), piece.begin(), piece.end());
            return absl::OkStatus();
          }));
      if (widen) {
        std::vector<float> wide(bytes.size() / safetensors::DTypeSize(dtype));
        RETURN_IF_ERROR(safetensors::ToFloat32(dtype, bytes, wide));
        RETURN_IF_ERROR(writer.Append(std::as_bytes(std::span(wide))));
        continue;
      }
      const auto rows = static_cast<size_t>(part.tensor.shape[0]);
      const size_t row_bytes = bytes.size() / rows;
      Bytes permuted(bytes.size());
      for (size_t row = 0; row < rows; ++row) {
        const auto source_row = static_cast<size_t>(
            PermutedRow(static_cast<int64_t>(row), head_dim, /*to_gguf=*/true));
        std::memcpy(permuted.data() + row * row_bytes,
                    bytes.data() + source_row * row_bytes, row_bytes);
      }
      RETURN_IF_ERROR(writer.Append(permuted));
    }
    return absl::OkStatus();
  }

  const MixtureTensors& tensors_;
  const GgufExportOptions& options_;
  std::unordered_map<std::string, size_t> index_;
};

GgufModel ModelOf(const Reference& reference) {
  const at::Tensor frequencies =
      reference.rope_frequencies.to(at::kCPU, at::kFloat).contiguous();
  const float* data = frequencies.const_data_ptr<float>();
  return {.anchor = reference.config,
          .num_experts = static_cast<int64_t>(reference.rows[0].size()) /
                         reference.config.hidden_size,
          .top_k = reference.top_k,
          .rope_frequencies = {data, data + frequencies.numel()}};
}

// What the anchor's FFNs are stored in.
gguf::Type ExpertType(const std::vector<GgufPart>& parts) {
  for (const GgufPart& part : parts) {
    if (part.sources.size() > 1) {
      return part.tensor.type;
    }
  }
  return gguf::Type::kF32;
}

StatusOr<GgufExportResult> RunGguf(const GgufExportOptions& options) {
  const auto report = [&](double fraction, const char* message) {
    if (options.on_progress) {
      options.on_progress(fraction, message);
    }
  };
  report(0.0, "running the release");
  ASSIGN_OR_RETURN(Reference reference,
                   MakeReference(options.release_directory,
                                 options.public_statistics_path, options.load));
  if (reference.config.type != model_format::ModelType::kLlama) {
    return Unimplemented(
        "got an anchor of type {}, wanted llama: llama.cpp has no such "
        "mixture; export to Hugging Face instead",
        model_format::ModelTypeName(reference.config.type));
  }
  if (!reference.renormalise) {
    return InvalidArgument(
        "got routing weights that are not renormalised: llama.cpp's mixture "
        "always renormalises, so this release cannot be exported");
  }
  const GgufModel model = ModelOf(reference);
  if (model.num_experts < 2) {
    return FailedPrecondition(
        "the release has no experts: it is the anchor alone, convert that");
  }
  ASSIGN_OR_RETURN(const auto tensors,
                   MixtureTensors::Open(options.release_directory,
                                        std::move(reference.rows)));
  const Exporter exporter(*tensors, options);
  ASSIGN_OR_RETURN(const std::vector<GgufPart> parts, exporter.Plan(model));
  gguf::Metadata metadata =
      ModelMetadata(model, options.name, ExpertType(parts));
  ASSIGN_OR_RETURN(
      const gguf::Metadata words,
      TokenizerMetadata(model::ModelFilesDirectory(options.release_directory),
                        model.anchor));
  metadata.insert(metadata.end(), words.begin(), words.end());
  std::vector<gguf::Tensor> list;
  for (const GgufPart& part : parts) {
    list.push_back(part.tensor);
  }
  ASSIGN_OR_RETURN(
      const PendingOutput check,
      PendingOutput::CreateFolder(options.output.string() + ".check"));
  ASSIGN_OR_RETURN(PendingOutput file,
                   PendingOutput::CreateFile(options.output));
  ASSIGN_OR_RETURN(const auto writer,
                   gguf::Writer::Create(file.path(), metadata, list));
  RETURN_IF_ERROR(exporter.Write(parts, model.anchor.head_dim, *writer));

  report(0.6, "reading again");
  RETURN_IF_ERROR(RestoreGguf(file.path(), model.anchor.rope, check.path()));
  report(0.8, "comparing logits");
  ASSIGN_OR_RETURN(const model::CausalLm written,
                   model::LoadModel(check.path(), options.load));
  GgufExportResult result{.experts = model.num_experts,
                          .padded_width = tensors->padded_width(),
                          .max_fold_difference = reference.max_fold_difference,
                          .compared_tokens = reference.ids_BS.numel(),
                          .tensors = static_cast<int64_t>(list.size()),
                          .file_bytes = writer->file_bytes()};
  ASSIGN_OR_RETURN(result.max_logit_difference,
                   CompareLogits(written, reference));
  RETURN_IF_ERROR(file.Publish());
  return result;
}

}  // namespace

StatusOr<GgufExportResult> ExportGguf(const GgufExportOptions& options) {
  return model::CatchTorch([&] { return RunGguf(options); });
}

}  // namespace tributary::coordinator
