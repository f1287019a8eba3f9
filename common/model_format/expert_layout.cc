#include "common/model_format/expert_layout.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "common/model_format/hf_directory.h"
#include "common/model_format/parameter_names.h"

namespace tributary::model_format {
namespace {

using safetensors::DType;
using safetensors::Shape;
using safetensors::TensorInfo;
using safetensors::TensorSpec;

constexpr MlpPart kParts[] = {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown};

// Of the three matrices of a layer, or of their factors.
int64_t MatrixElements(int64_t hidden_size, int64_t width, int64_t rank) {
  return 3 * (rank > 0 ? rank * (hidden_size + width) : hidden_size * width);
}

std::string Describe(DType dtype, const Shape& shape) {
  return fmt::format("{} {}", safetensors::DTypeName(dtype), shape.ToString());
}

}  // namespace

ExpertLayout ExpertLayout::Uniform(int64_t num_layers, int64_t first_layer,
                                   int64_t width) {
  ExpertLayout layout;
  for (int64_t l = 0; l < num_layers; ++l) {
    layout.widths.push_back(l < first_layer ? 0 : width);
  }
  return layout;
}

int64_t ExpertLayout::first_layer() const {
  return std::find_if(widths.begin(), widths.end(),
                      [](int64_t width) { return width > 0; }) -
         widths.begin();
}

StatusOr<int64_t> WidthBlock(int64_t intermediate_size) {
  constexpr int64_t kLargest = 128;
  constexpr int64_t kSmallest = 8;
  if (intermediate_size <= 0) {
    return InvalidArgument("got an FFN of {} channels, wanted at least {}",
                           intermediate_size, kSmallest);
  }
  const int64_t power = intermediate_size & -intermediate_size;
  if (power < kSmallest) {
    return InvalidArgument(
        "got an FFN of {} channels, wanted a multiple of {}: this anchor's FFN "
        "cannot be cut into blocks",
        intermediate_size, kSmallest);
  }
  return std::min(power, kLargest);
}

StatusOr<int64_t> RoundToBlock(int64_t intermediate_size, int64_t width) {
  ASSIGN_OR_RETURN(const int64_t block, WidthBlock(intermediate_size));
  return std::max(block, width / block * block);
}

Status CheckLayout(const ModelConfig& anchor, const ExpertLayout& layout,
                   const LayoutLimits& limits) {
  ASSIGN_OR_RETURN(const int64_t block, WidthBlock(anchor.intermediate_size));
  const int64_t layers = static_cast<int64_t>(layout.widths.size());
  if (layers != anchor.num_layers) {
    return InvalidArgument("got widths for {} layers, wanted {} as the anchor",
                           layers, anchor.num_layers);
  }
  const int64_t max_width =
      limits.max_width > 0 ? limits.max_width : anchor.intermediate_size;
  for (int64_t l = 0; l < layers; ++l) {
    const int64_t width = layout.widths[static_cast<size_t>(l)];
    if (width < 0 || width > max_width || width % block != 0) {
      return InvalidArgument(
          "layer {}: got width {}, wanted a multiple of {} from 0 to {}", l,
          width, block, max_width);
    }
  }
  if (!layout.ranks.empty() && layout.ranks.size() != layout.widths.size()) {
    return InvalidArgument("got ranks for {} layers, wanted {} or none",
                           layout.ranks.size(), layers);
  }
  const int64_t h = anchor.hidden_size;
  for (int64_t l = 0; l < layers; ++l) {
    const int64_t rank = layout.rank(l);
    const int64_t width = layout.widths[static_cast<size_t>(l)];
    if (rank < 0 || (rank > 0 && (width != anchor.intermediate_size ||
                                  rank > (h * width - 1) / (h + width)))) {
      return InvalidArgument(
          "layer {}: got rank {} at width {}, wanted one below {} at the "
          "anchor's width {}",
          l, rank, width, h * width / std::max<int64_t>(1, h + width),
          anchor.intermediate_size);
    }
  }
  return absl::OkStatus();
}

StatusOr<std::vector<TensorSpec>> ExpertTensors(const ModelConfig& anchor,
                                                const ExpertLayout& layout,
                                                const LayoutLimits& limits) {
  RETURN_IF_ERROR(CheckLayout(anchor, layout, limits));
  const int64_t h = anchor.hidden_size;
  std::vector<TensorSpec> tensors;
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    const int64_t w = layout.widths[static_cast<size_t>(l)];
    const int64_t r = layout.rank(l);
    if (r > 0) {
      for (const MlpPart part : kParts) {
        const bool down = part == MlpPart::kDown;
        tensors.push_back(
            {ExpertFactorA(l, part), DType::kBF16, {r, down ? w : h}});
        tensors.push_back(
            {ExpertFactorB(l, part), DType::kBF16, {down ? h : w, r}});
      }
    } else if (w > 0) {
      tensors.push_back({ExpertMlp(l, MlpPart::kGate), DType::kBF16, {w, h}});
      tensors.push_back({ExpertMlp(l, MlpPart::kUp), DType::kBF16, {w, h}});
      tensors.push_back({ExpertMlp(l, MlpPart::kDown), DType::kBF16, {h, w}});
    }
    tensors.push_back({RouterWeight(l), DType::kF32, {h}});
    tensors.push_back({RouterBias(l), DType::kF32, {}});
  }
  return tensors;
}

StatusOr<ExpertLayout> ReadExpertLayout(const ModelConfig& anchor,
                                        const std::vector<TensorInfo>& tensors,
                                        const LayoutLimits& limits) {
  std::unordered_map<std::string_view, const TensorInfo*> by_name;
  for (const TensorInfo& tensor : tensors) {
    by_name.emplace(tensor.name, &tensor);
  }
  ExpertLayout layout;
  // Any of the three matrices tells the width, so that the message names the
  // one that is missing; likewise any of six factors the rank.
  const auto size = [&](const std::string& name, size_t dimension) {
    const auto found = by_name.find(name);
    return found != by_name.end() && found->second->shape.size() == 2
               ? found->second->shape[dimension]
               : 0;
  };
  std::vector<int64_t> ranks;
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    int64_t width = 0;
    int64_t rank = 0;
    for (const MlpPart part : kParts) {
      width = std::max(
          width, size(ExpertMlp(l, part), part == MlpPart::kDown ? 1 : 0));
      rank = std::max({rank, size(ExpertFactorA(l, part), 0),
                       size(ExpertFactorB(l, part), 1)});
    }
    layout.widths.push_back(rank > 0 ? anchor.intermediate_size : width);
    ranks.push_back(rank);
  }
  if (std::any_of(ranks.begin(), ranks.end(),
                  [](int64_t r) { return r > 0; })) {
    layout.ranks = std::move(ranks);
  }
  ASSIGN_OR_RETURN(const std::vector<TensorSpec> wanted,
                   ExpertTensors(anchor, layout, limits));
  for (const TensorSpec& spec : wanted) {
    const auto found = by_name.find(spec.name);
    if (found == by_name.end()) {
      return InvalidArgument("tensor \"{}\" is missing, wanted {}", spec.name,
                             Describe(spec.dtype, spec.shape));
    }
    const TensorInfo& got = *found->second;
    if (got.dtype != spec.dtype || got.shape != spec.shape) {
      return InvalidArgument("tensor \"{}\": got {}, wanted {}", spec.name,
                             Describe(got.dtype, got.shape),
                             Describe(spec.dtype, spec.shape));
    }
  }
  if (wanted.size() != tensors.size()) {
    std::unordered_set<std::string_view> names;
    for (const TensorSpec& spec : wanted) {
      names.insert(spec.name);
    }
    for (const TensorInfo& tensor : tensors) {
      if (!names.contains(tensor.name)) {
        return InvalidArgument(
            "tensor \"{}\" ({}) is not part of an expert for this anchor; "
            "remove it",
            tensor.name, Describe(tensor.dtype, tensor.shape));
      }
    }
    return InvalidArgument("got {} tensors, wanted {}", tensors.size(),
                           wanted.size());
  }
  return layout;
}

uint64_t LayerBytes(int64_t hidden_size, int64_t width, int64_t rank) {
  constexpr uint64_t kBf16Bytes = 2;
  return kBf16Bytes *
         static_cast<uint64_t>(MatrixElements(hidden_size, width, rank));
}

ExpertParameters CountExpertParameters(const ModelConfig& anchor,
                                       const ExpertLayout& layout) {
  ExpertParameters count;
  for (int64_t l = 0; l < static_cast<int64_t>(layout.widths.size()); ++l) {
    count.mlp +=
        MatrixElements(anchor.hidden_size,
                       layout.widths[static_cast<size_t>(l)], layout.rank(l));
    count.router += anchor.hidden_size + 1;
  }
  return count;
}

int64_t CountModelParameters(const ModelConfig& config) {
  int64_t count = 0;
  for (const ParameterSpec& parameter : ModelParameters(config)) {
    count += parameter.shape.Elements().value_or(0);
  }
  return count;
}

}  // namespace tributary::model_format
