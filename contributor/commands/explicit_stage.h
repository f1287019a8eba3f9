#pragma once

// Stages on explicit files: no home, no coordinator. The work is done in
// OUTPUT.work, which a killed command continues and a finished one removes.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/cli/command_line.h"
#include "contributor/commands/training_flags.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// The options of all such commands; each declares those that it has. Those of
// calibrate, prune and import are in explicit_importance.h.
struct ExplicitOptions {
  std::string model;
  std::string output;
  std::string input;  // safetensors with input_ids
  std::vector<std::string> texts;
  std::vector<std::string> heldout;
  std::string text_field;
  int window_tokens = 256;
  bool share_windows = false;
  std::string importance;
  std::string router;
  std::string expert;
  std::string teacher;
  std::string initial;
  int first_layer = 0;
  int64_t width = 0;
  double fraction = 0;
  int rank = 0;
  int64_t budget = 0;
  std::string form = "tail";
  double text_share = 0.5;
  TrainingFlags training;
  RowFlags rows;
  uint64_t seed = 0;
  int threads = 0;
  std::string device = "cpu";
};

// OUTPUT appears whole or not at all. NOT_FOUND for a path that is not there;
// INVALID_ARGUMENT for options that do not go together; otherwise the worker's
// own errors.
Status RunExplicitTrain(const cli::CommandContext& context,
                        const ExplicitOptions& options);
Status RunExplicitDistill(const cli::CommandContext& context,
                          const ExplicitOptions& options);
Status RunExplicitExport(const cli::CommandContext& context,
                         const ExplicitOptions& options);

struct ExplicitEvaluation {
  std::string model;
  std::vector<std::string> experts;
  std::vector<std::string> texts;
  int threads = 0;
};
// Prints the log-loss of the anchor, and of anchor and experts, on text.
Status RunExplicitEvaluation(const cli::CommandContext& context,
                             const ExplicitEvaluation& options);

}  // namespace tributary::contributor
