#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// The log-loss of one model on one held-out text.
struct MeasuredLoss {
  std::string text;     // "own" or "public"
  std::string model;    // "anchor", "own", "own_unfolded", "release"
  double log_loss = 0;  // nats per predicted token
  int64_t tokens = 0;   // predicted tokens
};

// The losses of an evaluation job: its first task is on the own text, the
// others on public text. INTERNAL when the result is not of that form.
StatusOr<std::vector<MeasuredLoss>> CollectLosses(const job::Job& job,
                                                  const job::Result& result);

// One of them, or null.
const MeasuredLoss* FindLoss(const std::vector<MeasuredLoss>& losses,
                             std::string_view text, std::string_view model);

}  // namespace tributary::contributor
