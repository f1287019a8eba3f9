#pragma once

// Loops of a gated MLP over rows of floats, compiled for several instruction
// sets and chosen when the program starts. s(g) = g / (1 + exp(-g)).

#include <cstdint>

namespace tributary::contributor {

// out_i = scale s(gate_i) up_i
void GatedRow(const float* gate, const float* up, float scale, int64_t n,
              float* out);

// The backward pass of a row whose output went through down_proj and a weight:
// `gradient` is dLoss/d(down input) / weight. Overwrites gate by
// dLoss/dgate and up by dLoss/dup, `gradient` by weight s(gate) up (the input
// that the gradient of down_proj needs), and returns dLoss/dweight,
// sum gradient_i s(gate_i) up_i.
double GatedBackwardRow(float* gate, float* up, float weight, int64_t n,
                        float* gradient);

// AdamW (Loshchilov and Hutter, 2019, algorithm 2) on n parameters: one pass
// over memory. `decay` is 1 - rate * weight_decay, `step` is
// rate / (1 - beta1^t), `correction` is 1 / sqrt(1 - beta2^t), `scale` clips.
struct AdamWStep {
  float decay = 1;
  float step = 0;
  float beta1 = 0;
  float beta2 = 0;
  float correction = 1;
  float epsilon = 0;
  float scale = 1;
};
void AdamWRow(const AdamWStep& step, const float* gradient, int64_t n,
              float* parameter, float* first, float* second);

// sum x_i^2 in lanes of fp32, blocks in fp64.
double SumOfSquaresBlocked(const float* x, int64_t n);

}  // namespace tributary::contributor
