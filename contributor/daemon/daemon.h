#pragma once

#include <functional>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "contributor/pipeline/release_evaluation.h"
#include "contributor/pipeline/session.h"

namespace tributary::contributor {

// What the daemon tells while it stays.
struct DaemonEvents {
  StageProgress progress;
  // The contribution has another state than before.
  std::function<void(const v1::Contribution&)> on_contribution;
  // A new release was measured on this site's held-out text.
  std::function<void(const ReleaseEvaluation&)> on_evaluation;
  // A local copy was marked as withdrawn.
  std::function<void(const std::filesystem::path&)> on_withdrawn_copy;
  // Something has to wait: an unreachable coordinator, a missing approval.
  std::function<void(const Status&)> on_wait;
};

// Makes and sends the contribution, then stays: follows it, measures every new
// release and reports the numbers, marks copies of withdrawn releases, renews
// the certificate. Returns when `cancellation` is set (OK: drained) or when
// nothing that it could do would help: a bad configuration, a revoked identity.
Status RunDaemon(Session& session, double poll_seconds,
                 const CancellationToken& cancellation,
                 const DaemonEvents& events);

}  // namespace tributary::contributor
