#pragma once

#include <optional>
#include <string>
#include <utility>
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
  // What the rows of others make of the own text: the mean logit of the best
  // of them, if there are any, and each expert's, highest first. Stays here.
  std::optional<double> foreign_logit;
  std::vector<std::pair<std::string, double>> foreign_rows;

  // Log-loss of the release above that of the own model on the own text, nats
  // per token.
  double MergingLoss() const;
};

// From these on a person is told that others take some of the own tokens.
inline constexpr double kMergingLossWarning = 0.05;
inline constexpr double kForeignLogitWarning = -2.0;

// What a person should know, a sentence a line; empty when all is well.
std::string WarningsOf(const ReleaseEvaluation& evaluation);

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
