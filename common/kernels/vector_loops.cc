#include "common/kernels/vector_loops.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace tributary::kernels {
namespace {

// exp(x) for x <= 80: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of
// degree 6 for exp(r) (the Taylor series with its last terms adjusted is not
// needed at this accuracy: the remainder is below 2e-7) and n added to the
// exponent. Below -87 the result is 0.
inline float Exp(float x) {
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

inline float Widened(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t Narrowed(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>((is_nan ? bits | 0x400000u : rounded) >> 16);
}

// silu(x) = x / (1 + exp(-x)) by way of exp(-|x|), which never overflows.
inline float Silu(float x) {
  const float e = Exp(-std::abs(x));
  return (x < 0.0f ? x * e : x) / (1.0f + e);
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
void WeightedSum(const float* const* rows, const float* weights, int64_t count,
                 int64_t n, float* __restrict y) {
  if (count == 2) {
    const float* first = rows[0];
    const float* second = rows[1];
    const float a = weights[0];
    const float b = weights[1];
    for (int64_t i = 0; i < n; ++i) {
      y[i] = a * first[i] + b * second[i];
    }
    return;
  }
  std::fill_n(y, n, 0.0f);
  for (int64_t k = 0; k < count; ++k) {
    const float* row = rows[k];
    const float weight = weights[k];
    for (int64_t i = 0; i < n; ++i) {
      y[i] += weight * row[i];
    }
  }
}

TRIBUTARY_VECTOR_CLONES
void SiluProductRow(float* __restrict gate, const float* __restrict up,
                    int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    gate[i] = Silu(gate[i]) * up[i];
  }
}

TRIBUTARY_VECTOR_CLONES
void SiluProductBf16Row(uint16_t* __restrict gate,
                        const uint16_t* __restrict up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    gate[i] = Narrowed(Silu(Widened(gate[i])) * Widened(up[i]));
  }
}

TRIBUTARY_VECTOR_CLONES
void NarrowRow(const float* __restrict from, int64_t n,
               uint16_t* __restrict to) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = Narrowed(from[i]);
  }
}

TRIBUTARY_VECTOR_CLONES
void WidenRow(const uint16_t* __restrict from, int64_t n,
              float* __restrict to) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = Widened(from[i]);
  }
}

TRIBUTARY_VECTOR_CLONES
float DotWithBf16(const float* x, const uint16_t* w, int64_t n) {
  constexpr int64_t kWide = 4 * kLanes;
  float lanes[kWide] = {};
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    for (int64_t j = 0; j < kWide; ++j) {
      lanes[j] += x[i + j] * Widened(w[i + j]);
    }
  }
  for (; i < n; ++i) {
    lanes[0] += x[i] * Widened(w[i]);
  }
  float sum = 0;
  for (float lane : lanes) {
    sum += lane;
  }
  return sum;
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
MaxAndSum SumOfExponentials(const float* x, int64_t n) {
  // Blocks that stay in the first cache: the largest of a block, then its sum;
  // a new largest scales what was summed before.
  constexpr int64_t kBlock = 1024;
  MaxAndSum result = {.largest = -std::numeric_limits<float>::infinity()};
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    const float shift = std::max(result.largest, MaxOf(x + begin, end - begin));
    if (shift > result.largest) {
      result.sum *= std::exp(static_cast<double>(result.largest) - shift);
      result.largest = shift;
    } else if (!(shift > -std::numeric_limits<float>::infinity())) {
      continue;  // nothing but -inf so far
    }
    float lanes[kLanes] = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        lanes[j] += Exp(x[i + j] - shift);
      }
    }
    for (; i < end; ++i) {
      lanes[0] += Exp(x[i] - shift);
    }
    float sum = 0;
    for (float lane : lanes) {
      sum += lane;
    }
    result.sum += sum;
  }
  return result;
}

TRIBUTARY_VECTOR_CLONES
float ExponentiateRow(float* x, int64_t n, ShiftAndSum* sums) {
  // Blocks that stay in the first cache. Only a block that exceeds the shift by
  // far makes a new one, which what lies before it is scaled to.
  constexpr int64_t kBlock = 1024;
  constexpr float kSlack = 30.0f;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  float factor = 1.0f;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    const float most = MaxOf(x + begin, end - begin);
    if (most > sums->shift + kSlack) {
      const float scale = sums->shift == kNone ? 0.0f : Exp(sums->shift - most);
      for (int64_t i = 0; i < begin; ++i) {
        x[i] *= scale;
      }
      factor *= scale;
      sums->sum *= static_cast<double>(scale);
      sums->shift = most;
    }
    // While there is nothing but -inf, x - shift would be no number.
    const float shift = sums->shift == kNone ? 0.0f : sums->shift;
    for (int64_t i = begin; i < end; ++i) {
      x[i] = Exp(x[i] - shift);
    }
    float lanes[kLanes] = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        lanes[j] += x[i + j];
      }
    }
    for (; i < end; ++i) {
      lanes[0] += x[i];
    }
    float sum = 0;
    for (float lane : lanes) {
      sum += lane;
    }
    sums->sum += sum;
  }
  return factor;
}

TRIBUTARY_VECTOR_CLONES
void ScaleAndAddRows(float* __restrict y, float scale, const float* const* rows,
                     const float* weights, int64_t count, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] *= scale;
  }
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    const float* a = rows[k];
    const float* b = rows[k + 1];
    const float* c = rows[k + 2];
    const float* d = rows[k + 3];
    const float wa = weights[k];
    const float wb = weights[k + 1];
    const float wc = weights[k + 2];
    const float wd = weights[k + 3];
    for (int64_t i = 0; i < n; ++i) {
      y[i] += (wa * a[i] + wb * b[i]) + (wc * c[i] + wd * d[i]);
    }
  }
  for (; k < count; ++k) {
    const float* row = rows[k];
    const float weight = weights[k];
    for (int64_t i = 0; i < n; ++i) {
      y[i] += weight * row[i];
    }
  }
}

TRIBUTARY_VECTOR_CLONES
void MultiplyRow(float* x, float scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    x[i] *= scale;
  }
}

}  // namespace tributary::kernels
