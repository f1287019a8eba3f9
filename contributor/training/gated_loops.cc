#include "contributor/training/gated_loops.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/kernels/vector_loops.h"

namespace tributary::contributor {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 4096;

// exp(x) for |x| <= 87 (clamped), relative error about 2e-7: x = n ln 2 + r
// with |r| <= ln 2 / 2, a Taylor polynomial of degree 7 for exp(r), and n added
// to the exponent.
inline float Exp(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  const float clamped = std::min(std::max(x, -87.0f), 87.0f);
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
  return std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
}

inline float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

}  // namespace

TRIBUTARY_VECTOR_CLONES
void GatedRow(const float* gate, const float* up, float scale, int64_t n,
              float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = gate[i] * Sigmoid(gate[i]) * up[i] * scale;
  }
}

TRIBUTARY_VECTOR_CLONES
double GatedBackwardRow(float* __restrict gate, float* __restrict up,
                        float weight, int64_t n, float* __restrict gradient) {
  float lanes[kLanes] = {};
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        const float g = gate[i + j];
        const float u = up[i + j];
        const float d = gradient[i + j];
        const float sigmoid = Sigmoid(g);
        const float silu = g * sigmoid;
        const float a = silu * u;
        lanes[j] += d * a;
        gate[i + j] =
            weight * d * u * (sigmoid * (1.0f + g * (1.0f - sigmoid)));
        up[i + j] = weight * d * silu;
        gradient[i + j] = weight * a;
      }
    }
    for (; i < end; ++i) {
      const float g = gate[i];
      const float u = up[i];
      const float d = gradient[i];
      const float sigmoid = Sigmoid(g);
      const float silu = g * sigmoid;
      const float a = silu * u;
      lanes[0] += d * a;
      gate[i] = weight * d * u * (sigmoid * (1.0f + g * (1.0f - sigmoid)));
      up[i] = weight * d * silu;
      gradient[i] = weight * a;
    }
    float sum = 0;
    for (float& lane : lanes) {
      sum += lane;
      lane = 0;
    }
    total += sum;
  }
  return total;
}

TRIBUTARY_VECTOR_CLONES
void AdamWRow(const AdamWStep& step, const float* __restrict gradient,
              int64_t n, float* __restrict parameter, float* __restrict first,
              float* __restrict second) {
  const float rest1 = 1.0f - step.beta1;
  const float rest2 = 1.0f - step.beta2;
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * step.scale;
    const float m = first[i] + rest1 * (g - first[i]);
    const float v = step.beta2 * second[i] + rest2 * g * g;
    first[i] = m;
    second[i] = v;
    parameter[i] =
        parameter[i] * step.decay -
        step.step * m / (std::sqrt(v) * step.correction + step.epsilon);
  }
}

TRIBUTARY_VECTOR_CLONES
double SumOfSquaresBlocked(const float* x, int64_t n) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    float lanes[kLanes] = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        lanes[j] += x[i + j] * x[i + j];
      }
    }
    for (; i < end; ++i) {
      lanes[0] += x[i] * x[i];
    }
    float sum = 0;
    for (const float lane : lanes) {
      sum += lane;
    }
    total += sum;
  }
  return total;
}

}  // namespace tributary::contributor
