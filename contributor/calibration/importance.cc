#include "contributor/calibration/importance.h"

#include <cmath>

#include "common/crypto/digest.h"

namespace tributary::contributor {
namespace {

constexpr Formula kFormulas[] = {Formula::kWindowMean, Formula::kWanda,
                                 Formula::kReap, Formula::kTaylor};

}  // namespace

std::string_view FormulaName(Formula formula) {
  switch (formula) {
    case Formula::kWindowMean:
      return "window-mean";
    case Formula::kWanda:
      return "wanda";
    case Formula::kReap:
      return "reap";
    case Formula::kTaylor:
      return "taylor";
  }
  return "unknown";
}

StatusOr<Formula> ParseFormula(std::string_view name) {
  for (const Formula formula : kFormulas) {
    if (FormulaName(formula) == name) {
      return formula;
    }
  }
  return InvalidArgument(
      "formula: got {}, wanted window-mean, wanda, reap or taylor", name);
}

std::string DigestChannels(std::span<const float> gate_FD,
                           std::span<const float> up_FD,
                           std::span<const float> down_DF) {
  crypto::Sha256 digest;
  for (const auto& matrix : {gate_FD, up_FD, down_DF}) {
    digest.Update(std::as_bytes(matrix));
  }
  return digest.Hex();
}

std::vector<double> ImportanceSums::Scores(int64_t layer, size_t index) const {
  const Layer& channels = layers.at(layer);
  std::vector<double> scores = channels.sums[index].Values();
  for (size_t i = 0; i < scores.size(); ++i) {
    switch (formulas[index]) {
      case Formula::kWindowMean:
        scores[i] = std::sqrt(scores[i]);
        break;
      case Formula::kWanda:
        scores[i] = std::sqrt(scores[i]) * channels.down_norms[i];
        break;
      case Formula::kReap:
        scores[i] *= channels.down_norms[i] /
                     static_cast<double>(std::max<int64_t>(1, tokens));
        break;
      case Formula::kTaylor:
        break;
    }
  }
  return scores;
}

Status ImportanceSums::Merge(const ImportanceSums& other) {
  if (formulas != other.formulas) {
    return InvalidArgument(
        "importance: the files hold scores by other formulas; calibrate all "
        "with the same --formula in the same order");
  }
  bool same = layers.size() == other.layers.size();
  for (const auto& [l, layer] : layers) {
    const auto found = other.layers.find(l);
    same = same && found != other.layers.end() &&
           found->second.channels_digest == layer.channels_digest;
    if (!same) {
      return InvalidArgument(
          "importance: the files score the channels of different experts or "
          "anchors (layer {}); merge only what was calibrated with the same "
          "one",
          l);
    }
  }
  if (!same) {
    return InvalidArgument("importance: the files score different layers");
  }
  for (auto& [l, layer] : layers) {
    const Layer& more = other.layers.at(l);
    for (size_t i = 0; i < formulas.size(); ++i) {
      RETURN_IF_ERROR(layer.sums[i].Add(more.sums[i]));
    }
  }
  windows += other.windows;
  tokens += other.tokens;
  return absl::OkStatus();
}

Status CheckScoredChannels(const ImportanceScores& scores, int64_t layer,
                           const std::string& digest,
                           const std::filesystem::path& path,
                           const std::string& what) {
  const auto found = scores.channels_digests.find(layer);
  if (found == scores.channels_digests.end() || found->second == digest) {
    return absl::OkStatus();
  }
  return InvalidArgument(
      "{}: scores other channels than those of layer {} of {} (digest {:.12} "
      "instead of {:.12}); calibrate what is pruned",
      path.string(), layer, what, found->second, digest);
}

}  // namespace tributary::contributor
