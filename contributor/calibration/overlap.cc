#include "contributor/calibration/overlap.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tributary::contributor {
namespace {

// The place of every channel by descending score, from 0.
std::vector<int64_t> Ranks(const std::vector<float>& scores) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  std::vector<int64_t> ranks(scores.size());
  for (size_t i = 0; i < order.size(); ++i) {
    ranks[order[i]] = static_cast<int64_t>(i);
  }
  return ranks;
}

double RankCorrelation(const std::vector<int64_t>& a,
                       const std::vector<int64_t>& b) {
  const auto n = static_cast<double>(a.size());
  if (a.size() < 2) {
    return 1;
  }
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto difference = static_cast<double>(a[i] - b[i]);
    squares += difference * difference;
  }
  return 1 - 6 * squares / (n * (n * n - 1));
}

}  // namespace

StatusOr<std::vector<LayerOverlap>> CompareImportance(
    const std::filesystem::path& first, const std::filesystem::path& second,
    const std::vector<double>& fractions, const std::string& formula) {
  for (const double fraction : fractions) {
    if (!(fraction > 0 && fraction < 1)) {
      return InvalidArgument(
          "fraction of the top: got {}, wanted more than 0 and less than 1",
          fraction);
    }
  }
  ASSIGN_OR_RETURN(const ImportanceScores a,
                   ReadImportanceScores(first, formula));
  ASSIGN_OR_RETURN(const ImportanceScores b,
                   ReadImportanceScores(second, formula));
  std::vector<LayerOverlap> overlaps;
  for (const auto& [l, scores] : a.layers) {
    const auto other = b.layers.find(l);
    if (other == b.layers.end() || other->second.size() != scores.size() ||
        b.layers.size() != a.layers.size()) {
      return InvalidArgument(
          "{} and {}: layer {} has {} channels in one and {} in the other; "
          "compare files made with the same model and first layer",
          first.string(), second.string(), l, scores.size(),
          other == b.layers.end() ? 0 : other->second.size());
    }
    const auto digest = a.channels_digests.find(l);
    if (digest != a.channels_digests.end()) {
      RETURN_IF_ERROR(
          CheckScoredChannels(b, l, digest->second, second, first.string()));
    }
    const std::vector<int64_t> ranks_a = Ranks(scores);
    const std::vector<int64_t> ranks_b = Ranks(other->second);
    LayerOverlap overlap{.layer = l,
                         .channels = static_cast<int64_t>(scores.size()),
                         .rank_correlation = RankCorrelation(ranks_a, ranks_b)};
    for (const double fraction : fractions) {
      const int64_t top = std::max<int64_t>(
          1, std::llround(fraction * static_cast<double>(scores.size())));
      int64_t common = 0;
      for (size_t i = 0; i < scores.size(); ++i) {
        common += ranks_a[i] < top && ranks_b[i] < top ? 1 : 0;
      }
      overlap.tops.push_back(top);
      overlap.common.push_back(common);
    }
    overlaps.push_back(std::move(overlap));
  }
  return overlaps;
}

}  // namespace tributary::contributor
