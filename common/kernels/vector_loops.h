#pragma once

// Loops over rows of floats, compiled for several instruction sets and chosen
// when the program starts.

#include <cstdint>
#include <limits>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TRIBUTARY_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TRIBUTARY_VECTOR_CLONES
#endif

namespace tributary::kernels {

// Sums with a fixed number of lanes: the same result whatever the hardware's
// vector length.
inline constexpr int64_t kLanes = 16;

// sum x_i^2
float SumOfSquares(const float* x, int64_t n);
// sum a_i b_i c_i
float SumOfProducts(const float* a, const float* b, const float* c, int64_t n);
// out_i = x_i * scale * weight_i
void ScaleRow(const float* x, const float* weight, float scale, int64_t n,
              float* out);
// out_i = g_i * weight_i * scale - x_i * shift
void NormGradientRow(const float* g, const float* weight, const float* x,
                     float scale, float shift, int64_t n, float* out);
// Rotates the pairs (x_i, x_{i+n}) by the angles of cos and sin, n each.
void RotateRow(const float* x, const float* cos, const float* sin, int64_t n,
               float* out);
// y_i = sum_k weights_k * rows_k[i], in the order of k
void WeightedSum(const float* const* rows, const float* weights, int64_t count,
                 int64_t n, float* y);
// gate_i = silu(gate_i) * up_i, relative error of silu below 1e-6
void SiluProductRow(float* gate, const float* up, int64_t n);
// bf16, given as its bits, to fp32
void WidenRow(const uint16_t* from, int64_t n, float* to);
// fp32 to bf16, to the nearest, of two the even one; NaN stays NaN
void NarrowRow(const float* from, int64_t n, uint16_t* to);
// SiluProductRow for bf16 values, computed in fp32
void SiluProductBf16Row(uint16_t* gate, const uint16_t* up, int64_t n);
// sum x_i w_i with w in bf16
float DotWithBf16(const float* x, const uint16_t* w, int64_t n);
float MaxOf(const float* x, int64_t n);
// The largest element, and the sum of exp(x_i - largest) (relative error below
// 1e-6), in one pass over memory.
struct MaxAndSum {
  float largest = 0;
  double sum = 0;
};
MaxAndSum SumOfExponentials(const float* x, int64_t n);
// Exponentials of a row that comes in parts: x_i = exp(x_i - shift), added to
// `sums` (relative error below 1e-6), in one pass over memory. The shift is the
// largest element so far, or up to 30 below it, so that nothing overflows; what
// is 87 below it may become 0. Returns what exponentials of earlier parts must
// be multiplied by, because the shift has risen: 1 as a rule.
struct ShiftAndSum {
  float shift = -std::numeric_limits<float>::infinity();
  double sum = 0;
};
float ExponentiateRow(float* x, int64_t n, ShiftAndSum* sums);
// y = scale y + sum_k weights_k * rows_k
void ScaleAndAddRows(float* y, float scale, const float* const* rows,
                     const float* weights, int64_t count, int64_t n);
// x_i = x_i * scale
void MultiplyRow(float* x, float scale, int64_t n);

}  // namespace tributary::kernels
