#pragma once

// Scores of FFN channels by several formulas, and the sums behind them. With a
// the input of down_proj [windows, tokens, channels], L_b the mean log-loss of
// window b and W the channel's column of down_proj:
//   window-mean  sqrt(sum_b (mean_s |a_bsi|)^2)      (Minitron, section 2)
//   wanda        sqrt(sum_bs a_bsi^2) |W_i|          (Wanda, equation 1)
//   reap         mean_bs(g_bs |a_bsi|) |W_i|         (after REAP; g is the
//                expert's share of the token)
//   taylor       sum_b sum_theta (theta dL_b/dtheta)^2 over the channel's gate
//                row, up row and down column         (FlexMoE, equation 2)

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "contributor/calibration/exact_sum.h"

namespace tributary::contributor {

enum class Formula { kWindowMean, kWanda, kReap, kTaylor };

// "window-mean", "wanda", "reap", "taylor".
std::string_view FormulaName(Formula formula);
// INVALID_ARGUMENT names the known ones.
StatusOr<Formula> ParseFormula(std::string_view name);

// SHA-256 (hex) over one layer's matrices as fp32 values, row-major: what the
// scores of its channels belong to.
std::string DigestChannels(std::span<const float> gate_FD,
                           std::span<const float> up_FD,
                           std::span<const float> down_DF);

// Everything that scores are made of.
struct ImportanceSums {
  struct Layer {
    std::string channels_digest;
    std::vector<double> down_norms;  // |W_i|
    std::vector<ExactSum> sums;      // one per formula
  };
  std::vector<Formula> formulas;  // distinct, at least one
  std::map<int64_t, Layer> layers;
  int64_t windows = 0;
  int64_t tokens = 0;

  // Scores of a layer of `layers` by formulas[index].
  std::vector<double> Scores(int64_t layer, size_t index) const;

  // Adds those of other windows. INVALID_ARGUMENT unless they are of the same
  // formulas and the same channels.
  Status Merge(const ImportanceSums& other);
};

// Writes `layers.{l}.importance` fp32 [channels] by the first formula, and with
// several formulas `layers.{l}.importance.{formula}` by each; metadata say
// whose channels they score.
struct WriteImportanceOptions {
  // Adds what ReadImportanceSums reads.
  bool with_sums = false;
  // More metadata.
  std::map<std::string, std::string> metadata = {};
};
Status WriteImportance(const std::filesystem::path& path,
                       const ImportanceSums& sums,
                       const WriteImportanceOptions& options = {});

// Reads a file written with sums, and its metadata unless that is null.
// INVALID_ARGUMENT for a file without sums or one that contradicts itself.
StatusOr<ImportanceSums> ReadImportanceSums(
    const std::filesystem::path& path,
    std::map<std::string, std::string>* metadata = nullptr);

// Scores of a file.
struct ImportanceScores {
  std::map<int64_t, std::vector<float>> layers;
  // Per layer; none in files that say nothing of it.
  std::map<int64_t, std::string> channels_digests;
};

// `layers.{l}.importance` or, for a formula's name,
// `layers.{l}.importance.{formula}`. NOT_FOUND when the file has no such
// scores, INVALID_ARGUMENT for scores that are negative or not finite.
StatusOr<ImportanceScores> ReadImportanceScores(
    const std::filesystem::path& path, const std::string& formula = "");

// INVALID_ARGUMENT when the scores say that they belong to other channels than
// those of this digest; `what` names whose they are.
Status CheckScoredChannels(const ImportanceScores& scores, int64_t layer,
                           const std::string& digest,
                           const std::filesystem::path& path,
                           const std::string& what);

}  // namespace tributary::contributor
