#include "common/kernels/products.h"

#include <algorithm>
#include <atomic>

#include "common/kernels/parallel.h"
#include "common/kernels/scratch.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

using at::Tensor;

// Converted at a time: a product that is large enough to run at full speed,
// and a piece that is still in the cache when it does.
constexpr int64_t kPieceElements = 4 << 20;
// Up to so many rows a product is bound by reading the weights.
constexpr int64_t kFewRows = 4;
constexpr int64_t kGrainElements = 1 << 15;

void Widen(const Tensor& from, Tensor& to) {
  if (from.scalar_type() != at::kBFloat16 || to.scalar_type() != at::kFloat ||
      !from.device().is_cpu() || !from.is_contiguous() || !to.is_contiguous()) {
    to.copy_(from);
    return;
  }
  const auto* source = static_cast<const uint16_t*>(from.const_data_ptr());
  float* target = to.mutable_data_ptr<float>();
  ParallelFor(0, from.numel(), kGrainElements, [&](int64_t begin, int64_t end) {
    WidenRow(source + begin, end - begin, target + begin);
  });
}

std::atomic<ProductPrecision>& Precision() {
  static std::atomic<ProductPrecision> precision = ProductPrecision::kFp32;
  return precision;
}

bool InBf16(const Tensor& x, const Tensor& weight) {
  return GetProductPrecision() == ProductPrecision::kBf16 &&
         x.device().is_cpu() && x.scalar_type() == at::kFloat &&
         weight.scalar_type() == at::kBFloat16 && x.size(0) > kFewRows;
}

Tensor NarrowScratch(Scratch use, at::IntArrayRef sizes) {
  return ScratchTensor(use, sizes, at::TensorOptions(at::kBFloat16));
}

// x rounded to bf16.
Tensor Narrow(const Tensor& x) {
  const Tensor dense = x.contiguous();
  Tensor narrow = NarrowScratch(Scratch::kNarrowInput, x.sizes());
  const float* from = dense.const_data_ptr<float>();
  auto* to = static_cast<uint16_t*>(narrow.mutable_data_ptr());
  ParallelFor(0, dense.numel(), kGrainElements,
              [&](int64_t begin, int64_t end) {
                NarrowRow(from + begin, end - begin, to + begin);
              });
  return narrow;
}

// x w^T in bf16, widened into `out`.
void WidenedProduct(Tensor& out, const Tensor& x, const Tensor& weight) {
  Tensor narrow = NarrowScratch(Scratch::kNarrowOutput, out.sizes());
  at::mm_out(narrow, x, weight.t());
  Widen(narrow, out);
}

// Each weight is read once, as bf16, for all rows of x.
void FewRows(Tensor& out, const Tensor& x, const Tensor& weight) {
  const int64_t rows = x.size(0);
  const int64_t width = x.size(1);
  const Tensor dense = x.contiguous();
  const float* in = dense.const_data_ptr<float>();
  const auto* w = static_cast<const uint16_t*>(weight.const_data_ptr());
  float* to = out.mutable_data_ptr<float>();
  const int64_t stride = out.stride(0);
  ParallelFor(0, weight.size(0), std::max<int64_t>(1, kGrainElements / width),
              [&](int64_t begin, int64_t end) {
                for (int64_t f = begin; f < end; ++f) {
                  for (int64_t t = 0; t < rows; ++t) {
                    to[t * stride + f] =
                        DotWithBf16(in + t * width, w + f * width, width);
                  }
                }
              });
}

}  // namespace

void SetProductPrecision(ProductPrecision precision) {
  Precision() = precision;
}

ProductPrecision GetProductPrecision() { return Precision(); }

void LinearInto(Tensor& out_TF, const Tensor& x_TD, const Tensor& weight_FD) {
  if (weight_FD.scalar_type() == x_TD.scalar_type()) {
    at::mm_out(out_TF, x_TD, weight_FD.t());
    return;
  }
  if (InBf16(x_TD, weight_FD)) {
    WidenedProduct(out_TF, Narrow(x_TD), weight_FD);
    return;
  }
  const int64_t outputs = weight_FD.size(0);
  const int64_t width = weight_FD.size(1);
  if (x_TD.size(0) <= kFewRows && x_TD.device().is_cpu() &&
      x_TD.scalar_type() == at::kFloat &&
      weight_FD.scalar_type() == at::kBFloat16 && weight_FD.is_contiguous() &&
      out_TF.stride(1) == 1) {
    FewRows(out_TF, x_TD, weight_FD);
    return;
  }
  // Pieces of equal size: a small last one would run at a lower rate.
  const int64_t most = std::max<int64_t>(1, kPieceElements / width);
  const int64_t pieces = (outputs + most - 1) / most;
  const int64_t rows = pieces > 0 ? (outputs + pieces - 1) / pieces : 1;
  for (int64_t begin = 0; begin < outputs; begin += rows) {
    const int64_t count = std::min(rows, outputs - begin);
    Tensor wide = ScratchTensor(Scratch::kConvertedWeight, {count, width},
                                x_TD.options());
    Widen(weight_FD.narrow(0, begin, count), wide);
    Tensor columns = out_TF.narrow(1, begin, count);
    at::mm_out(columns, x_TD, wide.t());
  }
}

void MultiplySilu(Tensor& gate, const Tensor& up) {
  if (!gate.device().is_cpu() || gate.scalar_type() != at::kFloat ||
      up.scalar_type() != at::kFloat || !gate.is_contiguous() ||
      !up.is_contiguous()) {
    at::silu_(gate);
    gate.mul_(up);
    return;
  }
  float* to = gate.mutable_data_ptr<float>();
  const float* from = up.const_data_ptr<float>();
  ParallelFor(0, gate.numel(), kGrainElements, [&](int64_t begin, int64_t end) {
    SiluProductRow(to + begin, from + begin, end - begin);
  });
}

void GatedMlpInto(Tensor& out_TD, const Tensor& x_TD, const Tensor& gate_FD,
                  const Tensor& up_FD, const Tensor& down_DF) {
  const int64_t tokens = x_TD.size(0);
  const int64_t width = gate_FD.size(0);
  if (InBf16(x_TD, gate_FD) && InBf16(x_TD, up_FD) && InBf16(x_TD, down_DF)) {
    const Tensor x = Narrow(x_TD);
    Tensor gate = NarrowScratch(Scratch::kGate, {tokens, width});
    Tensor up = NarrowScratch(Scratch::kUp, {tokens, width});
    at::mm_out(gate, x, gate_FD.t());
    at::mm_out(up, x, up_FD.t());
    auto* to = static_cast<uint16_t*>(gate.mutable_data_ptr());
    const auto* from = static_cast<const uint16_t*>(up.const_data_ptr());
    ParallelFor(0, gate.numel(), kGrainElements,
                [&](int64_t begin, int64_t end) {
                  SiluProductBf16Row(to + begin, from + begin, end - begin);
                });
    WidenedProduct(out_TD, gate, down_DF);
    return;
  }
  Tensor gate = ScratchTensor(Scratch::kGate, {tokens, width}, x_TD.options());
  Tensor up = ScratchTensor(Scratch::kUp, {tokens, width}, x_TD.options());
  LinearInto(gate, x_TD, gate_FD);
  LinearInto(up, x_TD, up_FD);
  MultiplySilu(gate, up);
  LinearInto(out_TD, gate, down_DF);
}

}  // namespace tributary::kernels
