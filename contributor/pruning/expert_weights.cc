#include "contributor/pruning/expert_weights.h"

#include <algorithm>
#include <array>
#include <deque>
#include <set>

#include "common/model_format/parameter_names.h"
#include "common/safetensors/float_convert.h"
#include "common/safetensors/writer.h"

namespace tributary::contributor {
namespace {

using model_format::MlpPart;

constexpr std::array kParts = {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown};

std::vector<float>& Matrix(LayerWeights& layer, MlpPart part) {
  switch (part) {
    case MlpPart::kGate:
      return layer.gate_FD;
    case MlpPart::kUp:
      return layer.up_FD;
    case MlpPart::kDown:
      break;
  }
  return layer.down_DF;
}

safetensors::Shape MatrixShape(MlpPart part, int64_t width,
                               int64_t hidden_size) {
  return part == MlpPart::kDown ? safetensors::Shape{hidden_size, width}
                                : safetensors::Shape{width, hidden_size};
}

}  // namespace

StatusOr<LayerWeights> ReadAnchorLayer(const model_format::HfDirectory& anchor,
                                       int64_t layer) {
  LayerWeights weights{.width = anchor.config().intermediate_size};
  for (const MlpPart part : kParts) {
    ASSIGN_OR_RETURN(const model_format::TensorReference tensor,
                     anchor.Find(model_format::DenseMlp(layer, part)));
    std::vector<float>& matrix = Matrix(weights, part);
    matrix.resize(tensor.info->elements());
    RETURN_IF_ERROR(safetensors::ToFloat32(tensor.info->dtype, tensor.bytes(),
                                           std::span(matrix)));
  }
  return weights;
}

LayerWeights SelectChannels(const LayerWeights& from,
                            const std::vector<int32_t>& kept,
                            int64_t hidden_size) {
  const auto width = static_cast<int64_t>(kept.size());
  LayerWeights to{.width = width};
  to.gate_FD.resize(width * hidden_size);
  to.up_FD.resize(width * hidden_size);
  to.down_DF.resize(hidden_size * width);
  for (int64_t i = 0; i < width; ++i) {
    const int64_t begin = kept[i] * hidden_size;
    std::copy_n(from.gate_FD.begin() + begin, hidden_size,
                to.gate_FD.begin() + i * hidden_size);
    std::copy_n(from.up_FD.begin() + begin, hidden_size,
                to.up_FD.begin() + i * hidden_size);
  }
  for (int64_t d = 0; d < hidden_size; ++d) {
    const float* row = from.down_DF.data() + d * from.width;
    float* out = to.down_DF.data() + d * width;
    for (int64_t i = 0; i < width; ++i) {
      out[i] = row[kept[i]];
    }
  }
  return to;
}

StatusOr<ExpertFile> ExpertFile::Open(const model_format::ModelConfig& anchor,
                                      const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(auto file, safetensors::File::Open(path));
  ExpertFile expert(std::move(file));
  std::vector<int64_t>& widths = expert.layout_.widths;
  widths.assign(anchor.num_layers, 0);
  std::set<std::string> known;
  size_t rows = 0;
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    const auto* gate =
        expert.file_->Find(model_format::ExpertMlp(l, MlpPart::kGate));
    if (gate != nullptr && !gate->shape.empty()) {
      widths[l] = gate->shape[0];
    }
    for (const MlpPart part : kParts) {
      const std::string name = model_format::ExpertMlp(l, part);
      const auto* tensor = expert.file_->Find(name);
      if (widths[l] == 0 && tensor == nullptr) {
        continue;
      }
      const auto shape = MatrixShape(part, widths[l], anchor.hidden_size);
      if (tensor == nullptr || !(tensor->shape == shape) ||
          !safetensors::IsFloatingPoint(tensor->dtype)) {
        return InvalidArgument(
            "{}: tensor {}: got {}, wanted floating point {}", path.string(),
            name, tensor == nullptr ? "none" : tensor->shape.ToString(),
            shape.ToString());
      }
      known.insert(name);
    }
    for (const auto& [name, shape] :
         {std::pair(model_format::RouterWeight(l),
                    safetensors::Shape{anchor.hidden_size}),
          std::pair(model_format::RouterBias(l), safetensors::Shape{})}) {
      const auto* tensor = expert.file_->Find(name);
      if (tensor != nullptr) {
        if (!(tensor->shape == shape)) {
          return InvalidArgument("{}: tensor {}: got {}, wanted {}",
                                 path.string(), name, tensor->shape.ToString(),
                                 shape.ToString());
        }
        known.insert(name);
        ++rows;
      }
    }
  }
  for (const auto& tensor : expert.file_->tensors()) {
    if (!known.contains(tensor.name)) {
      return InvalidArgument("{}: tensor {} is none that an expert has",
                             path.string(), tensor.name);
    }
  }
  expert.has_rows_ = rows == 2 * static_cast<size_t>(anchor.num_layers);
  if (const Status layout = model_format::CheckLayout(anchor, expert.layout_);
      !layout.ok()) {
    return Annotate(layout, path.string());
  }
  return expert;
}

StatusOr<LayerWeights> ExpertFile::ReadLayer(int64_t layer) const {
  LayerWeights weights{.width = layout_.widths[layer]};
  if (weights.width > 0) {
    for (const MlpPart part : kParts) {
      ASSIGN_OR_RETURN(Matrix(weights, part),
                       file_->ReadFloats(model_format::ExpertMlp(layer, part)));
    }
  }
  return weights;
}

Status WriteExpertWeights(const std::filesystem::path& path,
                          int64_t hidden_size,
                          const std::vector<LayerWeights>& layers) {
  std::vector<safetensors::TensorView> views;
  for (size_t l = 0; l < layers.size(); ++l) {
    if (layers[l].width == 0) {
      continue;
    }
    for (const MlpPart part : kParts) {
      views.push_back(
          {{model_format::ExpertMlp(l, part), safetensors::DType::kF32,
            MatrixShape(part, layers[l].width, hidden_size)},
           std::as_bytes(
               std::span(Matrix(const_cast<LayerWeights&>(layers[l]), part)))});
    }
  }
  return safetensors::WriteFile(path, views);
}

Status WriteExpertWithRows(const std::filesystem::path& path,
                           int64_t hidden_size,
                           const std::vector<LayerWeights>& layers,
                           const std::vector<std::vector<float>>& rows,
                           safetensors::DType dtype) {
  constexpr float kNoBias = 0;
  std::vector<safetensors::TensorView> views;
  std::deque<std::vector<std::byte>> converted;
  for (size_t l = 0; l < layers.size(); ++l) {
    for (const MlpPart part : kParts) {
      if (layers[l].width == 0) {
        continue;
      }
      const safetensors::TensorSpec spec = {
          model_format::ExpertMlp(l, part), dtype,
          MatrixShape(part, layers[l].width, hidden_size)};
      ASSIGN_OR_RETURN(const uint64_t size, safetensors::TensorBytes(spec));
      converted.emplace_back(size);
      RETURN_IF_ERROR(safetensors::FromFloat32(
          Matrix(const_cast<LayerWeights&>(layers[l]), part), dtype,
          converted.back()));
      views.push_back({spec, converted.back()});
    }
    views.push_back({{model_format::RouterWeight(l),
                      safetensors::DType::kF32,
                      {hidden_size}},
                     std::as_bytes(std::span(rows[l]))});
    views.push_back(
        {{model_format::RouterBias(l), safetensors::DType::kF32, {}},
         std::as_bytes(std::span(&kNoBias, 1))});
  }
  return safetensors::WriteFile(path, views);
}

}  // namespace tributary::contributor
