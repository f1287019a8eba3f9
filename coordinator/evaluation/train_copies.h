#pragma once

#include <cstdint>
#include <functional>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "coordinator/routing/proxy_text.h"

namespace tributary::coordinator {

struct CopyTraining {
  int64_t steps = 64;
  double learning_rate = 2e-4;         // of the experts
  double router_learning_rate = 2e-3;  // of the rows
  double load_balance = 0.01;
  uint64_t seed = 0;  // orders the windows
  const CancellationToken* cancellation = nullptr;
  std::function<void(double, const std::string&)> on_progress;
};

struct CopyTrainingResult {
  int64_t steps = 0;
  // Mean log-loss of the first and the last tenth of the steps.
  double first_loss = 0;
  double last_loss = 0;
};

// Trains all experts and router rows of an upcycled model on public text, one
// window a step, in an order drawn anew whenever all were seen; the rest is
// frozen. Adam (betas 0.9, 0.95), gradients clipped to norm 1, cosine to a
// tenth; the loss is the log-loss with a load-balancing loss as in
// TuneOptions. ABORTED when the loss is not finite.
StatusOr<CopyTrainingResult> TrainCopies(model::CausalLm& lm,
                                         const PublicWindows& windows,
                                         const CopyTraining& options);

}  // namespace tributary::coordinator
