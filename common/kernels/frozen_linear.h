#pragma once

#include "ATen/ATen.h"

namespace tributary::kernels {

// x w^T for x [.., D] and a frozen weight [F, D] of another dtype, in x's
// dtype. Gradients reach x only. The weight is converted for each use and
// never kept converted: it costs memory in its own dtype alone.
at::Tensor FrozenLinear(const at::Tensor& x, const at::Tensor& weight_FD);

}  // namespace tributary::kernels
