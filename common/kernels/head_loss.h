#pragma once

#include "ATen/ATen.h"

namespace tributary::kernels {

// -log softmax(hidden head^T)[target] for every row, nats, fp32 [T]; hidden
// [T, D], head [V, D], targets int64 [T]. Holds one chunk of logits at a time.
// The head is frozen: gradients reach hidden only, and are computed from the
// same chunk of logits, so that the backward needs no logits again.
at::Tensor HeadLogLoss(const at::Tensor& hidden_TD, const at::Tensor& head_VD,
                       const at::Tensor& targets_T);

}  // namespace tributary::kernels
