#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"

namespace tributary::evaluation {

// True at the [W, S - 1] positions whose next token is of the same document.
at::Tensor HasTarget(const at::Tensor& documents_WS);

// Mean negative log-likelihood of the tokens 1 .. S-1 of each window, nats.
struct LogLoss {
  double mean = 0;     // over all predicted tokens
  int64_t tokens = 0;  // predicted
  std::vector<double> window_means;

  // Joins the windows of `other` to these.
  void Append(const LogLoss& other);
};

struct LogLossOptions {
  // Tokens per forward pass, rounded to whole windows.
  int64_t batch_tokens = 1024;
  // The residual stream before `first_layer` of the same windows
  // [W, S, D] fp32, when it is known already; undefined: from the embedding.
  at::Tensor trunk_WSD;
  int64_t first_layer = 0;
  // Of packed windows: each token's document, as model::RunOptions has it
  // [W, S]; a document's first token is not predicted. Undefined: one document
  // a window.
  at::Tensor documents_WS;
  // Fraction of the windows done, 0 to 1.
  std::function<void(double)> on_progress;
  const CancellationToken* cancellation = nullptr;
};

// Log-loss of windows of equal length, token ids [W, S]. INVALID_ARGUMENT for
// fewer than 2 tokens a window or trunk states of another shape, CANCELLED.
StatusOr<LogLoss> EvaluateWindows(const model::CausalLm& lm,
                                  const at::Tensor& ids_WS,
                                  const LogLossOptions& options = {});

// The same for windows of any lengths of at least 2.
StatusOr<LogLoss> EvaluateWindows(
    const model::CausalLm& lm, const std::vector<std::vector<int32_t>>& windows,
    const LogLossOptions& options = {});

}  // namespace tributary::evaluation
