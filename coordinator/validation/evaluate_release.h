#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "common/base/status.h"
#include "common/evaluation/log_loss.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct EvaluateReleaseOptions {
  std::filesystem::path anchor_directory;
  model::Source release;
  // `heldout` int32 [W, S].
  std::filesystem::path public_tokens_path;
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

struct ReleaseEvaluation {
  evaluation::LogLoss anchor;
  evaluation::LogLoss release;
};

// Public held-out log-loss of the anchor and of a release over it.
// DATA_LOSS when the release's own copy of the anchor is another model.
StatusOr<ReleaseEvaluation> EvaluateRelease(
    const EvaluateReleaseOptions& options);

}  // namespace tributary::coordinator
