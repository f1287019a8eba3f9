#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/evaluation/text_windows.h"
#include "common/model/causal_lm.h"
#include "coordinator/evaluation/routing_record.h"

namespace tributary::coordinator {

// Text of one kind, cut into windows of token ids.
struct DomainWindows {
  std::string name;
  evaluation::Windows windows;
};

struct RecordOptions {
  NodeLimit nodes;                          // to simulate
  std::function<void(double)> on_progress;  // 0 to 1
  const CancellationToken* cancellation = nullptr;
};

// Runs a mixture over all windows. Layers that are computed as the anchor's
// own are left out. FAILED_PRECONDITION when no layer routes, INVALID_ARGUMENT
// for ids outside of the vocabulary and as NodeSimulation.
StatusOr<RoutingRecord> RecordRouting(const model::CausalLm& lm,
                                      const std::vector<DomainWindows>& domains,
                                      const RecordOptions& options = {});

// Channel importance of the anchor's FFNs on each domain:
// sqrt(sum over windows of (mean over positions of |a|)^2), a the input of
// down_proj, in fp64 [D][L][I]. `anchor` is dense.
StatusOr<std::vector<std::vector<std::vector<double>>>> DomainImportance(
    const model::CausalLm& anchor, const std::vector<DomainWindows>& domains,
    const RecordOptions& options = {});

}  // namespace tributary::coordinator
