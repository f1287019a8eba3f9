#include "contributor/pruning/channels.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "common/model_format/parameter_names.h"

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

std::vector<int32_t> ShuffledChannels(uint64_t seed, int64_t layer,
                                      int64_t channels) {
  std::seed_seq seeds{static_cast<uint32_t>(seed),
                      static_cast<uint32_t>(seed >> 32),
                      static_cast<uint32_t>(layer)};
  std::mt19937_64 random(seeds);
  std::vector<int32_t> order(channels);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = channels - 1; i > 0; --i) {
    std::swap(order[i], order[random() % static_cast<uint64_t>(i + 1)]);
  }
  return order;
}

StatusOr<ChannelScores> ReadImportance(const std::vector<int64_t>& channels,
                                       const std::filesystem::path& path,
                                       const std::string& formula) {
  ChannelScores scores;
  ASSIGN_OR_RETURN(scores.file, ReadImportanceScores(path, formula));
  scores.layers.resize(channels.size());
  for (size_t l = 0; l < channels.size(); ++l) {
    if (channels[l] == 0) {
      continue;
    }
    const auto found = scores.file.layers.find(static_cast<int64_t>(l));
    if (found == scores.file.layers.end()) {
      return NotFound(
          "{}: has no scores {} of layer {}; calibrate from that layer on",
          path.string(), model_format::Importance(l), l);
    }
    if (static_cast<int64_t>(found->second.size()) != channels[l]) {
      return InvalidArgument(
          "{}: {}: got {} scores, wanted {}, one per channel of what is "
          "pruned; without scores an expert is cut to its first channels",
          path.string(), model_format::Importance(l), found->second.size(),
          channels[l]);
    }
    scores.layers[l] = found->second;
  }
  return scores;
}

}  // namespace tributary::contributor
