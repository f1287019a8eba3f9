#pragma once

// Scores, widths and imports on explicit files.

#include <string>
#include <vector>

#include "contributor/commands/explicit_stage.h"

namespace tributary::contributor {

// Beside those of every stage.
struct CalibrateFlags {
  std::vector<std::string> formulas;
  std::vector<std::string> merge;  // importance files with sums
  std::string shard;               // "0/4"
  bool sums = false;
  bool second_moments = false;
};

struct PruneFlags {
  std::string formula;
  std::string ranking;  // stored, importance, random; empty: as it fits
  std::vector<int64_t> widths;
  double quality = 0;
};

struct ImportFlags {
  std::string from;
  int expert_index = 1;
};

struct OverlapFlags {
  std::vector<std::string> importance;
  std::vector<double> tops;
  std::string formula;
  std::string output;
  int threads = 0;
};

// The message's value; FORMULA_UNSPECIFIED for nothing. INVALID_ARGUMENT names
// the known ones.
StatusOr<job::Calibrate::Formula> FormulaOf(const std::string& name);

Status RunExplicitCalibrate(const cli::CommandContext& context,
                            const ExplicitOptions& options,
                            const CalibrateFlags& flags);
Status RunExplicitPrune(const cli::CommandContext& context,
                        const ExplicitOptions& options,
                        const PruneFlags& flags);
Status RunExplicitImport(const cli::CommandContext& context,
                         const ExplicitOptions& options,
                         const ImportFlags& flags);
// Writes a folder with the comparison.
Status RunExplicitOverlap(const cli::CommandContext& context,
                          const OverlapFlags& flags);

}  // namespace tributary::contributor
