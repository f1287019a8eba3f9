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
  NodeLimit nodes;  // to simulate
  // 0 to 1, and what was done last.
  std::function<void(double, const std::string&)> on_progress;
  const CancellationToken* cancellation = nullptr;
};

// Runs a mixture over all windows, those of one length that follow each other
// together. Layers that are computed as the anchor's own are left out.
// FAILED_PRECONDITION when no layer routes, INVALID_ARGUMENT for ids outside of
// the vocabulary and as NodeSimulation.
StatusOr<RoutingRecord> RecordRouting(const model::CausalLm& lm,
                                      const std::vector<DomainWindows>& domains,
                                      const RecordOptions& options = {});

}  // namespace tributary::coordinator
