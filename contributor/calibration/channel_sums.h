#pragma once

#include <cstdint>
#include <span>

namespace tributary::contributor {

// What is summed over the tokens of a window, per channel; where the pointer is
// null it is left out. fp64 [channels].
struct ChannelSums {
  double* absolute = nullptr;  // |a_ti|
  double* square = nullptr;    // a_ti^2
  double* weighted = nullptr;  // weight_t |a_ti|
};

// Sums over the rows of `a` [tokens, channels] for the channels [begin, end);
// `weights` [tokens] are read for `weighted` alone. fp32 within 16 tokens, fp64
// beyond: a relative error of about 1e-7. One pass over the activations.
void SumChannels(const float* a, int64_t tokens, int64_t channels,
                 const float* weights, int64_t begin, int64_t end,
                 const ChannelSums& sums);

// sum over the row of (weight * gradient)^2 in fp64.
double SumOfSquaredProducts(std::span<const float> weights,
                            std::span<const float> gradients);

// out_i += (weight_i * gradient_i)^2 for a row of a matrix whose columns are
// the channels.
void AddSquaredProducts(std::span<const float> weights,
                        std::span<const float> gradients,
                        std::span<double> out);

}  // namespace tributary::contributor
