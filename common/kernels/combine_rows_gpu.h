#pragma once

#include "ATen/ATen.h"

namespace tributary::kernels {

// CombineRows without gradients for fp32 or bf16 `out` on a GPU, on the current
// stream. In builds with TRIBUTARY_CUDA only.
at::Tensor CombineRowsOnGpu(const at::Tensor& out_ND, const at::Tensor& rows_TK,
                            const at::Tensor& weights_TK);

}  // namespace tributary::kernels
