#include "coordinator/export/mixture_tensors.h"

#include <algorithm>
#include <utility>

#include "common/base/files.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/low_rank.h"
#include "common/safetensors/float_convert.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
namespace names = model_format;
using model_format::HfDirectory;
using model_format::ModelConfig;
using model_format::ModelType;
using safetensors::DType;
using safetensors::Shape;

constexpr size_t kPieceElements = 1 << 18;

// Whether the FFNs of all layers are bf16.
bool HasBf16Ffn(const HfDirectory& anchor) {
  for (int64_t l = 0; l < anchor.config().num_layers; ++l) {
    for (const auto part :
         {names::MlpPart::kGate, names::MlpPart::kUp, names::MlpPart::kDown}) {
      const auto tensor = anchor.Find(names::DenseMlp(l, part));
      if (!tensor.ok() || tensor->info->dtype != DType::kBF16) {
        return false;
      }
    }
  }
  return true;
}

Status SendZeros(uint64_t bytes, const ByteSink& sink) {
  static const std::vector<std::byte> zeros(1 << 16);
  while (bytes > 0) {
    const uint64_t count = std::min<uint64_t>(bytes, zeros.size());
    RETURN_IF_ERROR(sink({zeros.data(), count}));
    bytes -= count;
  }
  return absl::OkStatus();
}

// Sends elements of one dtype as another.
Status Convert(DType from, std::span<const std::byte> bytes, DType to,
               const ByteSink& sink) {
  if (from == to) {
    return sink(bytes);
  }
  const size_t size = safetensors::DTypeSize(from);
  std::vector<float> wide;
  std::vector<std::byte> narrow;
  while (!bytes.empty()) {
    const size_t count = std::min(kPieceElements, bytes.size() / size);
    wide.resize(count);
    narrow.resize(count * safetensors::DTypeSize(to));
    RETURN_IF_ERROR(
        safetensors::ToFloat32(from, bytes.first(count * size), wide));
    RETURN_IF_ERROR(safetensors::FromFloat32(wide, to, narrow));
    RETURN_IF_ERROR(sink(narrow));
    bytes = bytes.subspan(count * size);
  }
  return absl::OkStatus();
}

}  // namespace

MixtureTensors::MixtureTensors(manifest::ReleaseManifest manifest,
                               std::unique_ptr<HfDirectory> anchor,
                               std::vector<std::vector<float>> rows)
    : manifest_(std::move(manifest)),
      anchor_(std::move(anchor)),
      rows_(std::move(rows)) {}

StatusOr<std::unique_ptr<MixtureTensors>> MixtureTensors::Open(
    const fs::path& release, std::vector<std::vector<float>> rows) {
  ASSIGN_OR_RETURN(const std::string json, ReadFile(release / "release.json"));
  ASSIGN_OR_RETURN(auto manifest, manifest::ReleaseManifest::FromJson(json));
  ASSIGN_OR_RETURN(auto anchor, HfDirectory::Open(release / "anchor"));
  std::unique_ptr<MixtureTensors> result(new MixtureTensors(
      std::move(manifest), std::move(anchor), std::move(rows)));
  RETURN_IF_ERROR(result->OpenExperts(release));
  RETURN_IF_ERROR(result->Plan());
  return result;
}

Status MixtureTensors::OpenExperts(const fs::path& release) {
  for (const auto& entry : manifest_.experts) {
    const fs::path path =
        release / "experts" / (entry.contribution + ".safetensors");
    ASSIGN_OR_RETURN(
        auto file,
        safetensors::File::Open(
            path, {.limits = safetensors::HeaderLimits::ForExpert()}));
    const auto layout =
        model_format::ReadExpertLayout(anchor_->config(), file->tensors());
    if (!layout.ok()) {
      return Annotate(layout.status(), path.string());
    }
    if (layout->widths != entry.widths) {
      return InvalidArgument("{}: its widths are not those of the manifest",
                             path.string());
    }
    experts_.push_back(std::move(file));
  }
  return absl::OkStatus();
}

StatusOr<std::string> MixtureTensors::ConfigJson() const {
  return model_format::MixtureConfigJson(
      anchor_->config(),
      {.num_experts = num_experts(),
       .top_k = std::min(manifest_.routing.top_k, num_experts()),
       .intermediate_size = padded_width(),
       .norm_topk_prob = manifest_.routing.renormalise},
      dtype_ == DType::kBF16 ? "bfloat16" : "float32");
}

Status MixtureTensors::Plan() {
  const ModelConfig& config = anchor_->config();
  if (config.is_moe()) {
    return InvalidArgument("the anchor is a {} mixture, wanted a dense model",
                           model_format::ModelTypeName(config.type));
  }
  if (static_cast<int64_t>(rows_.size()) != config.num_layers) {
    return InvalidArgument("got router rows of {} layers, wanted {}",
                           rows_.size(), config.num_layers);
  }
  for (const auto& rows : rows_) {
    if (static_cast<int64_t>(rows.size()) !=
        num_experts() * config.hidden_size) {
      return InvalidArgument("got {} router elements in a layer, wanted {}",
                             rows.size(), num_experts() * config.hidden_size);
    }
  }
  type_ = config.type == ModelType::kLlama   ? ModelType::kMixtral
          : config.type == ModelType::kOlmo2 ? ModelType::kFlexOlmo
                                             : ModelType::kOlmoe;
  dtype_ = HasBf16Ffn(*anchor_) ? DType::kBF16 : DType::kF32;
  int64_t next_layer = 0;
  for (const auto& parameter : model_format::ModelParameters(config)) {
    // Dense FFNs give way to the experts.
    bool dense = false;
    if (next_layer < config.num_layers) {
      for (const MlpPart part :
           {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown}) {
        dense |= parameter.name == names::DenseMlp(next_layer, part);
      }
    }
    if (!dense) {
      ASSIGN_OR_RETURN(const auto reference, anchor_->Find(parameter.name));
      Add(parameter.name, reference.info->dtype, parameter.shape,
          {.name = parameter.name});
    } else if (parameter.name == names::DenseMlp(next_layer, MlpPart::kDown)) {
      AddLayer(next_layer++);
    }
  }
  if (next_layer != config.num_layers) {
    return Internal("planned {} layers of {}", next_layer, config.num_layers);
  }
  return absl::OkStatus();
}

void MixtureTensors::Add(std::string name, DType dtype, Shape shape,
                         Origin origin) {
  specs_.push_back(
      {.name = std::move(name), .dtype = dtype, .shape = std::move(shape)});
  origins_.push_back(std::move(origin));
}

void MixtureTensors::AddLayer(int64_t l) {
  const int64_t h = anchor_->config().hidden_size;
  const int64_t width = padded_width();
  Add(names::MixtureRouter(type_, l), DType::kF32, {num_experts(), h},
      {.kind = Origin::Kind::kRouter, .layer = l});
  for (int64_t e = 0; e < num_experts(); ++e) {
    for (const MlpPart part : {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown}) {
      Origin origin = {.name = names::DenseMlp(l, part)};
      if (e > 0 && manifest_.experts[static_cast<size_t>(e - 1)]
                           .widths[static_cast<size_t>(l)] > 0) {
        origin = {.kind = Origin::Kind::kExpert,
                  .name = names::ExpertMlp(l, part),
                  .expert = static_cast<size_t>(e - 1),
                  .part = part,
                  .layer = l};
      }
      Add(names::MixtureExpert(type_, l, e, part), dtype_,
          part == MlpPart::kDown ? Shape{h, width} : Shape{width, h},
          std::move(origin));
    }
  }
}

Status MixtureTensors::EmitExpert(const Origin& origin,
                                  const ByteSink& sink) const {
  const safetensors::File& file = *experts_[origin.expert];
  const safetensors::TensorInfo* info = file.Find(origin.name);
  if (info == nullptr) {
    return EmitDifference(origin, sink);
  }
  const std::span<const std::byte> bytes = file.Bytes(*info);
  const auto size = static_cast<int64_t>(safetensors::DTypeSize(dtype_));
  if (origin.part != MlpPart::kDown) {
    // Further rows of zeros.
    RETURN_IF_ERROR(Convert(info->dtype, bytes, dtype_, sink));
    return SendZeros(static_cast<uint64_t>((padded_width() - info->shape[0]) *
                                           info->shape[1] * size),
                     sink);
  }
  // Further columns of zeros.
  const auto row_bytes =
      static_cast<size_t>(info->shape[1]) * safetensors::DTypeSize(info->dtype);
  for (int64_t row = 0; row < info->shape[0]; ++row) {
    RETURN_IF_ERROR(
        Convert(info->dtype,
                bytes.subspan(static_cast<size_t>(row) * row_bytes, row_bytes),
                dtype_, sink));
    RETURN_IF_ERROR(SendZeros(
        static_cast<uint64_t>((padded_width() - info->shape[1]) * size), sink));
  }
  return absl::OkStatus();
}

Status MixtureTensors::EmitDifference(const Origin& origin,
                                      const ByteSink& sink) const {
  const safetensors::File& file = *experts_[origin.expert];
  const safetensors::TensorInfo* a =
      file.Find(names::ExpertFactorA(origin.layer, origin.part));
  const safetensors::TensorInfo* b =
      file.Find(names::ExpertFactorB(origin.layer, origin.part));
  if (a == nullptr || b == nullptr) {
    return NotFound("{}: has neither \"{}\" nor factors of it",
                    file.path().string(), origin.name);
  }
  ASSIGN_OR_RETURN(const model_format::TensorReference base,
                   anchor_->Find(names::DenseMlp(origin.layer, origin.part)));
  const model_format::LowRankMatrix matrix = {.rows = b->shape[0],
                                              .columns = a->shape[1],
                                              .rank = a->shape[0],
                                              .base_dtype = base.info->dtype,
                                              .base = base.bytes(),
                                              .a = file.Bytes(*a),
                                              .b = file.Bytes(*b)};
  const int64_t rows_at_once = std::max<int64_t>(
      1, static_cast<int64_t>(kPieceElements) / matrix.columns);
  std::vector<std::byte> bytes;
  for (int64_t row = 0; row < matrix.rows; row += rows_at_once) {
    const int64_t end = std::min(matrix.rows, row + rows_at_once);
    bytes.resize(static_cast<size_t>((end - row) * matrix.columns) *
                 safetensors::DTypeSize(DType::kBF16));
    RETURN_IF_ERROR(model_format::ExpandRows(matrix, row, end, bytes));
    RETURN_IF_ERROR(Convert(DType::kBF16, bytes, dtype_, sink));
  }
  return absl::OkStatus();
}

Status MixtureTensors::Emit(size_t index, const ByteSink& sink) const {
  const Origin& origin = origins_[index];
  switch (origin.kind) {
    case Origin::Kind::kRouter:
      return sink(
          std::as_bytes(std::span(rows_[static_cast<size_t>(origin.layer)])));
    case Origin::Kind::kExpert:
      return EmitExpert(origin, sink);
    case Origin::Kind::kAnchor:
      break;
  }
  ASSIGN_OR_RETURN(const model_format::TensorReference reference,
                   anchor_->Find(origin.name));
  return Convert(reference.info->dtype, reference.bytes(), specs_[index].dtype,
                 sink);
}

}  // namespace tributary::coordinator
