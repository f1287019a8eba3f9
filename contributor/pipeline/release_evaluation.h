#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "contributor/pipeline/contribute.h"
#include "contributor/pipeline/losses.h"

namespace tributary::contributor {

// A release measured on this site's held-out text.
struct ReleaseEvaluation {
  std::string release;  // releases/{number}
  std::string digest;
  std::string directory;
  std::vector<MeasuredLoss> losses;
};

// Fetches `name` (releases/{number} or releases/latest) into the home, measures
// anchor, own expert and release on own and public held-out text, and reports
// the numbers, nothing else, to the coordinator. A release is measured once;
// later calls repeat the report.
// FAILED_PRECONDITION: withdrawn, another anchor, or the expert is not made.
StatusOr<ReleaseEvaluation> EvaluateRelease(const PipelineContext& context,
                                            const std::string& name);

// True when the release was measured before.
bool IsEvaluated(const Home& home, const std::string& contribution,
                 int64_t release_number);

}  // namespace tributary::contributor
