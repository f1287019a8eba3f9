#include "common/kernels/vector_loops.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace tributary::kernels {
namespace {

// exp(x) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of
// degree 6 for exp(r) (the Taylor series with its last terms adjusted is not
// needed at this accuracy: the remainder is below 2e-7) and n added to the
// exponent. Below -87 the result is 0.
inline float NegativeExp(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  const float clamped = std::max(x, -87.0f);
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent =
      (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound)) << 23;
  const float result =
      std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
  return x < -87.0f ? 0.0f : result;
}

}  // namespace

TRIBUTARY_VECTOR_CLONES
float SumOfSquares(const float* x, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      lanes[j] += x[i + j] * x[i + j];
    }
  }
  for (; i < n; ++i) {
    lanes[0] += x[i] * x[i];
  }
  float sum = 0;
  for (float lane : lanes) {
    sum += lane;
  }
  return sum;
}

TRIBUTARY_VECTOR_CLONES
float SumOfProducts(const float* a, const float* b, const float* c, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      lanes[j] += a[i + j] * b[i + j] * c[i + j];
    }
  }
  for (; i < n; ++i) {
    lanes[0] += a[i] * b[i] * c[i];
  }
  float sum = 0;
  for (float lane : lanes) {
    sum += lane;
  }
  return sum;
}

TRIBUTARY_VECTOR_CLONES
void ScaleRow(const float* x, const float* weight, float scale, int64_t n,
              float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = (x[i] * scale) * weight[i];
  }
}

TRIBUTARY_VECTOR_CLONES
void NormGradientRow(const float* g, const float* weight, const float* x,
                     float scale, float shift, int64_t n,
                     float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = g[i] * weight[i] * scale - x[i] * shift;
  }
}

TRIBUTARY_VECTOR_CLONES
void RotateRow(const float* x, const float* cos, const float* sin, int64_t n,
               float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = x[i] * cos[i] - x[i + n] * sin[i];
    out[i + n] = x[i + n] * cos[i] + x[i] * sin[i];
  }
}

TRIBUTARY_VECTOR_CLONES
void AddScaledRow(const float* x, float weight, int64_t n,
                  float* __restrict y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] += weight * x[i];
  }
}

TRIBUTARY_VECTOR_CLONES
float MaxOf(const float* x, int64_t n) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      lanes[j] = lanes[j] < x[i + j] ? x[i + j] : lanes[j];
    }
  }
  for (; i < n; ++i) {
    lanes[0] = lanes[0] < x[i] ? x[i] : lanes[0];
  }
  return *std::max_element(lanes, lanes + kLanes);
}

TRIBUTARY_VECTOR_CLONES
double SumOfExponentials(const float* x, float shift, int64_t n) {
  // Blocks summed in fp32 lanes, the blocks in fp64.
  constexpr int64_t kBlock = 1024;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    float lanes[kLanes] = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        lanes[j] += NegativeExp(x[i + j] - shift);
      }
    }
    for (; i < end; ++i) {
      lanes[0] += NegativeExp(x[i] - shift);
    }
    float sum = 0;
    for (float lane : lanes) {
      sum += lane;
    }
    total += sum;
  }
  return total;
}

TRIBUTARY_VECTOR_CLONES
void ExponentialRow(float* x, float shift, float scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    x[i] = NegativeExp(x[i] - shift) * scale;
  }
}

}  // namespace tributary::kernels
