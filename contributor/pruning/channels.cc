#include "contributor/pruning/channels.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"

namespace tributary::contributor {

std::vector<int32_t> HighestChannels(std::span<const float> scores,
                                     int64_t width) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  order.resize(std::min<size_t>(order.size(), width));
  return order;
}

StatusOr<std::vector<std::vector<float>>> ReadImportance(
    const model_format::ModelConfig& anchor, int64_t first_layer,
    const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(
      const auto file,
      safetensors::File::Open(
          path, {.limits = safetensors::HeaderLimits::ForModel()}));
  std::vector<std::vector<float>> scores(anchor.num_layers);
  for (int64_t l = first_layer; l < anchor.num_layers; ++l) {
    const std::string name = model_format::Importance(l);
    ASSIGN_OR_RETURN(scores[l], file->ReadFloats(name));
    if (static_cast<int64_t>(scores[l].size()) != anchor.intermediate_size) {
      return InvalidArgument(
          "{}: {}: got {} scores, wanted {}, the anchor's FFN width; calibrate "
          "with this anchor",
          path.string(), name, scores[l].size(), anchor.intermediate_size);
    }
    for (const float score : scores[l]) {
      if (!(score >= 0) || !std::isfinite(score)) {
        return InvalidArgument(
            "{}: {}: a score is {}, wanted finite scores of at least 0",
            path.string(), name, score);
      }
    }
  }
  return scores;
}

}  // namespace tributary::contributor
