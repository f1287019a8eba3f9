#pragma once

#include "ATen/ATen.h"

namespace tributary::kernels {

struct RmsNormOptions {
  double epsilon = 1e-5;
  // Whether the weight is applied in fp32, before the cast to the input's
  // dtype (the same thing for fp32 inputs).
  enum class Weight { kAfterCast, kBeforeCast } weight = Weight::kAfterCast;
};

// x / sqrt(mean(x^2) + epsilon) * weight over the last dimension, in fp32,
// with x's dtype and shape. The weight is frozen: gradients reach x only,
// unless the weight requires them (a slower path).
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight_D,
                   const RmsNormOptions& options);

}  // namespace tributary::kernels
