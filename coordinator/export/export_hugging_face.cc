#include "coordinator/export/export_hugging_face.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/base/files.h"
#include "common/model/errors.h"
#include "common/model/load_release.h"
#include "common/model/tensor_io.h"
#include "common/safetensors/writer.h"
#include "coordinator/export/fold_bias.h"
#include "coordinator/export/mixture_tensors.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using model::CausalLm;

constexpr char kWeights[] = "model.safetensors";
constexpr int64_t kComparedWindows = 2;
constexpr int64_t kComparedLength = 128;
// Two computations of one model in fp32 differ by rounding only.
constexpr double kTolerance = 5e-3;

// Files beside the weights that belong to the tokenizer.
constexpr const char* kCopiedFiles[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "generation_config.json"};

// Removes a folder unless it was kept.
class PendingFolder {
 public:
  static StatusOr<PendingFolder> Create(const fs::path& output) {
    std::error_code error;
    if (fs::exists(output, error)) {
      return AlreadyExists("{}: is there already; choose another output",
                           output.string());
    }
    const fs::path path = output.string() + ".partial";
    fs::remove_all(path, error);
    RETURN_IF_ERROR(MakeDirectories(path));
    return PendingFolder(path);
  }
  PendingFolder(PendingFolder&& other) noexcept
      : path_(std::exchange(other.path_, {})) {}
  PendingFolder& operator=(PendingFolder&&) = delete;
  ~PendingFolder() {
    if (!path_.empty()) {
      std::error_code ignored;
      fs::remove_all(path_, ignored);
    }
  }

  const fs::path& path() const { return path_; }

  Status Publish(const fs::path& output) {
    RETURN_IF_ERROR(SyncDirectory(path_));
    std::error_code error;
    fs::rename(path_, output, error);
    if (error) {
      return ErrnoStatus(error.value(), output.string());
    }
    path_.clear();
    return SyncDirectory(output.parent_path());
  }

 private:
  explicit PendingFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

Status WriteWeights(const MixtureTensors& tensors, const fs::path& path,
                    const ExportOptions& options) {
  ASSIGN_OR_RETURN(const auto writer, safetensors::Writer::Create(
                                          path, tensors.specs(),
                                          {.metadata = {{"format", "pt"}}}));
  for (size_t i = 0; i < tensors.specs().size(); ++i) {
    if (options.load.cancellation != nullptr) {
      RETURN_IF_ERROR(options.load.cancellation->Check());
    }
    RETURN_IF_ERROR(tensors.Emit(i, [&](std::span<const std::byte> bytes) {
      return writer->Append(bytes);
    }));
    if (options.on_progress) {
      options.on_progress(0.4 * static_cast<double>(i + 1) /
                              static_cast<double>(tensors.specs().size()),
                          "writing");
    }
  }
  return writer->Finish();
}

// Reads the file again and compares every tensor with its source.
Status CompareWeights(const MixtureTensors& tensors, const fs::path& path,
                      const ExportOptions& options) {
  ASSIGN_OR_RETURN(
      const auto file,
      safetensors::File::Open(
          path, {.limits = safetensors::HeaderLimits::ForModel()}));
  if (file->tensors().size() != tensors.specs().size()) {
    return DataLoss("{}: holds {} tensors, wanted {}", path.string(),
                    file->tensors().size(), tensors.specs().size());
  }
  for (size_t i = 0; i < tensors.specs().size(); ++i) {
    if (options.load.cancellation != nullptr) {
      RETURN_IF_ERROR(options.load.cancellation->Check());
    }
    const safetensors::TensorSpec& spec = tensors.specs()[i];
    const safetensors::TensorInfo* info = file->Find(spec.name);
    if (info == nullptr || info->dtype != spec.dtype ||
        info->shape != spec.shape) {
      return DataLoss("{}: \"{}\" is missing or of another shape",
                      path.string(), spec.name);
    }
    std::span<const std::byte> rest = file->Bytes(*info);
    bool equal = true;
    RETURN_IF_ERROR(
        tensors.Emit(i, [&](std::span<const std::byte> bytes) -> Status {
          equal = equal && bytes.size() <= rest.size() &&
                  std::memcmp(bytes.data(), rest.data(), bytes.size()) == 0;
          rest = rest.subspan(std::min(bytes.size(), rest.size()));
          return absl::OkStatus();
        }));
    if (!equal || !rest.empty()) {
      return DataLoss("{}: \"{}\" differs from what was written", path.string(),
                      spec.name);
    }
  }
  return absl::OkStatus();
}

Status CopyFiles(const fs::path& from, const fs::path& to) {
  for (const char* name : kCopiedFiles) {
    std::error_code error;
    if (!fs::is_regular_file(from / name, error)) {
      continue;
    }
    ASSIGN_OR_RETURN(const std::string content, ReadFile(from / name));
    RETURN_IF_ERROR(WriteFileAtomic(to / name, content));
  }
  return absl::OkStatus();
}

// Public tokens of the anchor [W, S], or ids spread over the vocabulary where
// the anchor has none.
StatusOr<Tensor> TokensToCompare(const fs::path& anchor, int64_t vocab_size) {
  const fs::path path = anchor / "public" / "tokens.safetensors";
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    return at::arange(kComparedWindows * kComparedLength, at::kLong)
        .mul(7919)
        .remainder(vocab_size)
        .view({kComparedWindows, kComparedLength});
  }
  ASSIGN_OR_RETURN(
      const auto file,
      safetensors::File::Open(
          path, {.limits = safetensors::HeaderLimits::ForModel()}));
  ASSIGN_OR_RETURN(const Tensor ids,
                   model::ReadTokenIds(*file, "heldout", vocab_size));
  return ids.narrow(0, 0, std::min(kComparedWindows, ids.size(0)))
      .narrow(1, 0, std::min(kComparedLength, ids.size(1)));
}

Tensor LogitsOf(const CausalLm& lm, const Tensor& ids) {
  at::NoGradGuard no_gradients;
  return model::Logits(lm, model::HiddenStates(lm, ids));
}

std::vector<std::vector<float>> RouterRows(const CausalLm& lm) {
  std::vector<std::vector<float>> rows;
  for (const model::DecoderLayer& layer : lm.layers) {
    if (!layer.router_ED.defined()) {  // the anchor alone: one public row
      rows.emplace_back(static_cast<size_t>(lm.config.hidden_size), 0.0f);
      continue;
    }
    const Tensor host = layer.router_ED.to(at::kCPU, at::kFloat).contiguous();
    const float* data = host.const_data_ptr<float>();
    rows.emplace_back(data, data + host.numel());
  }
  return rows;
}

double LargestDifference(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

StatusOr<ExportResult> Run(const ExportOptions& options) {
  const auto report = [&](double fraction, const char* message) {
    if (options.on_progress) {
      options.on_progress(fraction, message);
    }
  };
  const fs::path anchor = model::ModelFilesDirectory(options.release_directory);
  ExportResult result;
  Tensor ids;
  Tensor wanted;
  std::vector<std::vector<float>> rows;
  {
    report(0.0, "loading the release");
    ASSIGN_OR_RETURN(CausalLm lm, model::LoadRelease(options.release_directory,
                                                     options.load));
    ASSIGN_OR_RETURN(ids, TokensToCompare(anchor, lm.config.vocab_size));
    wanted = LogitsOf(lm, ids);
    if (HasBiases(lm)) {
      const Tensor unfolded = wanted;
      RETURN_IF_ERROR(FoldBiases(lm, options.public_statistics_path));
      wanted = LogitsOf(lm, ids);
      result.max_fold_difference = LargestDifference(wanted, unfolded);
    }
    rows = RouterRows(lm);
  }
  ASSIGN_OR_RETURN(
      const auto tensors,
      MixtureTensors::Open(options.release_directory, std::move(rows)));
  ASSIGN_OR_RETURN(const std::string config, tensors->ConfigJson());
  ASSIGN_OR_RETURN(PendingFolder folder, PendingFolder::Create(options.output));
  RETURN_IF_ERROR(WriteWeights(*tensors, folder.path() / kWeights, options));
  RETURN_IF_ERROR(WriteFileAtomic(folder.path() / "config.json", config));
  RETURN_IF_ERROR(CopyFiles(anchor, folder.path()));

  report(0.5, "comparing tensors");
  RETURN_IF_ERROR(CompareWeights(*tensors, folder.path() / kWeights, options));
  report(0.8, "comparing logits");
  ASSIGN_OR_RETURN(const CausalLm written,
                   model::LoadModel(folder.path(), options.load));
  result.max_logit_difference =
      LargestDifference(LogitsOf(written, ids), wanted);
  result.compared_tokens = ids.numel();
  result.experts = tensors->num_experts();
  result.padded_width = tensors->padded_width();
  if (!(result.max_logit_difference <= kTolerance)) {
    return DataLoss(
        "the exported model's logits differ by {:.3g} from the release's, "
        "wanted at most {:.3g}; nothing was exported",
        result.max_logit_difference, kTolerance);
  }
  RETURN_IF_ERROR(folder.Publish(options.output));
  return result;
}

}  // namespace

StatusOr<ExportResult> ExportHuggingFace(const ExportOptions& options) {
  return model::CatchTorch([&] { return Run(options); });
}

}  // namespace tributary::coordinator
