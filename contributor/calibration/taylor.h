#pragma once

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/calibration/importance.h"

namespace tributary::contributor {

// The gradient pass of Formula::kTaylor: adds up, window by window,
// sum_theta (theta dL_b/dtheta)^2 of every channel that `sums` has.
class TaylorPass {
 public:
  // A copy of `lm` whose scored weights require gradients; nothing else does.
  TaylorPass(const model::CausalLm& lm, int64_t first_layer,
             ImportanceSums* sums);

  // One window of token ids [1, S] and its documents (window_documents.h;
  // undefined: one). Throws as LibTorch does.
  Status Add(const at::Tensor& ids_BS, const at::Tensor& documents_BS = {});

 private:
  Status AddLayer(int64_t layer, size_t index);

  model::CausalLm lm_;
  const int64_t first_layer_;
  ImportanceSums& sums_;
};

}  // namespace tributary::contributor
