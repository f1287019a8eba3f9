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
    const std::vector<int64_t>& channels, const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(
      const auto file,
      safetensors::File::Open(
          path, {.limits = safetensors::HeaderLimits::ForModel()}));
  std::vector<std::vector<float>> scores(channels.size());
  for (size_t l = 0; l < channels.size(); ++l) {
    if (channels[l] == 0) {
      continue;
    }
    const std::string name = model_format::Importance(l);
    ASSIGN_OR_RETURN(scores[l], file->ReadFloats(name));
    if (static_cast<int64_t>(scores[l].size()) != channels[l]) {
      return InvalidArgument(
          "{}: {}: got {} scores, wanted {}, one per channel of what is "
          "pruned; without scores an expert is cut to its first channels",
          path.string(), name, scores[l].size(), channels[l]);
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
