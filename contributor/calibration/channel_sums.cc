#include "contributor/calibration/channel_sums.h"

#include <algorithm>
#include <cmath>

#include "common/kernels/vector_loops.h"

namespace tributary::contributor {
namespace {

constexpr int64_t kBlock = 256;  // channels
constexpr int64_t kChunk = 16;   // tokens summed in fp32

TRIBUTARY_VECTOR_CLONES
void AddAbsolute(const float* row, int64_t n, float* sum) {
  for (int64_t i = 0; i < n; ++i) {
    sum[i] += std::fabs(row[i]);
  }
}

TRIBUTARY_VECTOR_CLONES
void AddSquares(const float* row, int64_t n, float* sum) {
  for (int64_t i = 0; i < n; ++i) {
    sum[i] += row[i] * row[i];
  }
}

TRIBUTARY_VECTOR_CLONES
void AddWeighted(const float* row, float weight, int64_t n, float* sum) {
  for (int64_t i = 0; i < n; ++i) {
    sum[i] += weight * std::fabs(row[i]);
  }
}

void Flush(float* from, int64_t n, double* to) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] += from[i];
    from[i] = 0;
  }
}

void SumBlock(const float* a, int64_t tokens, int64_t channels,
              const float* weights, int64_t n, const ChannelSums& sums) {
  float absolute[kBlock] = {};
  float square[kBlock] = {};
  float weighted[kBlock] = {};
  for (int64_t begin = 0; begin < tokens; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, tokens);
    for (int64_t t = begin; t < end; ++t) {
      const float* row = a + t * channels;
      if (sums.absolute != nullptr) {
        AddAbsolute(row, n, absolute);
      }
      if (sums.square != nullptr) {
        AddSquares(row, n, square);
      }
      if (sums.weighted != nullptr) {
        AddWeighted(row, weights[t], n, weighted);
      }
    }
    if (sums.absolute != nullptr) {
      Flush(absolute, n, sums.absolute);
    }
    if (sums.square != nullptr) {
      Flush(square, n, sums.square);
    }
    if (sums.weighted != nullptr) {
      Flush(weighted, n, sums.weighted);
    }
  }
}

}  // namespace

void SumChannels(const float* a, int64_t tokens, int64_t channels,
                 const float* weights, int64_t begin, int64_t end,
                 const ChannelSums& sums) {
  const auto at = [](double* base, int64_t i) {
    return base == nullptr ? nullptr : base + i;
  };
  for (int64_t i = begin; i < end; i += kBlock) {
    SumBlock(a + i, tokens, channels, weights, std::min(kBlock, end - i),
             {.absolute = at(sums.absolute, i),
              .square = at(sums.square, i),
              .weighted = at(sums.weighted, i)});
  }
}

TRIBUTARY_VECTOR_CLONES
double SumOfSquaredProducts(std::span<const float> weights,
                            std::span<const float> gradients) {
  double lanes[8] = {};
  const size_t n = weights.size();
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t j = 0; j < 8; ++j) {
      const double product =
          static_cast<double>(weights[i + j]) * gradients[i + j];
      lanes[j] += product * product;
    }
  }
  for (; i < n; ++i) {
    const double product = static_cast<double>(weights[i]) * gradients[i];
    lanes[0] += product * product;
  }
  double sum = 0;
  for (const double lane : lanes) {
    sum += lane;
  }
  return sum;
}

TRIBUTARY_VECTOR_CLONES
void AddSquaredProducts(std::span<const float> weights,
                        std::span<const float> gradients,
                        std::span<double> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    const double product = static_cast<double>(weights[i]) * gradients[i];
    out[i] += product * product;
  }
}

}  // namespace tributary::contributor
