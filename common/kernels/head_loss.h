#pragma once

#include "ATen/ATen.h"

namespace tributary::kernels {

// -log softmax(hidden head^T)[target] for every row, nats, fp32 [T]; hidden
// [T, D], head [V, D], targets int64 [T]. Holds a part of the logits at a time.
// The head is frozen: gradients reach hidden only, and are computed from the
// same logits, so that the backward needs none again.
at::Tensor HeadLogLoss(const at::Tensor& hidden_TD, const at::Tensor& head_VD,
                       const at::Tensor& targets_T);

// Elsewhere than on the CPU (see head_blocks.h): positions whose logits are
// held at a time, a sixteenth of all, at most 32 MiB of them, but enough for a
// product at full speed; chunks of equal size.
int64_t HeadChunkRows(int64_t tokens, int64_t vocabulary);

}  // namespace tributary::kernels
