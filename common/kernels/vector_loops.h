#pragma once

// Loops over rows of floats, compiled for several instruction sets and chosen
// when the program starts.

#include <cstdint>

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
// y_i += weight * x_i
void AddScaledRow(const float* x, float weight, int64_t n, float* y);
float MaxOf(const float* x, int64_t n);
// sum exp(x_i - shift), relative error below 1e-6.
double SumOfExponentials(const float* x, float shift, int64_t n);
// x_i = exp(x_i - shift) * scale
void ExponentialRow(float* x, float shift, float scale, int64_t n);

}  // namespace tributary::kernels
