#pragma once

#include "ATen/ATen.h"

namespace tributary::kernels {

// cos and sin of position * frequency, fp32 [S, C / 2].
struct RopeTable {
  at::Tensor cos;
  at::Tensor sin;
};

// Angles of the positions start .. start + length - 1. Products are rounded to
// fp32 before cos and sin, as the checkpoints' reference code does.
RopeTable MakeRopeTable(const at::Tensor& frequencies, int64_t start,
                        int64_t length);

// Rotates channel i with channel i + C/2 ("half split") of every head and
// brings heads to the front: [B, S, heads * C] to [B, heads, S, C], contiguous.
// Rows of x may be strided. Differentiable in x.
at::Tensor ApplyRope(const at::Tensor& x, int64_t heads,
                     const RopeTable& table);

}  // namespace tributary::kernels
