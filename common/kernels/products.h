#pragma once

// Products with weights and the gated activation, without gradients, into
// memory that is there already.

#include "ATen/ATen.h"

namespace tributary::kernels {

// In what the CPU computes products of fp32 with bf16 weights: in fp32, which
// is exact for the weights, or in bf16 with fp32 sums, which rounds inputs and
// results to 8 bits and is several times faster where the CPU has units for it.
// One setting per process; fp32 unless set. Nothing else changes.
enum class ProductPrecision { kFp32, kBf16 };
void SetProductPrecision(ProductPrecision precision);
ProductPrecision GetProductPrecision();

// out = x w^T for x [T, D], w [F, D] and out [T, F], whose rows may be strided;
// x and out have one dtype. A weight of another dtype is converted piece by
// piece into memory that every call uses again; for a few rows of fp32 and
// bf16 weights on the CPU it is read as it is.
void LinearInto(at::Tensor& out_TF, const at::Tensor& x_TD,
                const at::Tensor& weight_FD);

// gate = silu(gate) * up, elementwise, contiguous and of one shape.
void MultiplySilu(at::Tensor& gate, const at::Tensor& up);

// out = down(silu(gate x) * up x) for x and out [T, D]. With bf16 products what
// lies between stays in bf16.
void GatedMlpInto(at::Tensor& out_TD, const at::Tensor& x_TD,
                  const at::Tensor& gate_FD, const at::Tensor& up_FD,
                  const at::Tensor& down_DF);

}  // namespace tributary::kernels
