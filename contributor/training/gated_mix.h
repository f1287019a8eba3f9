#pragma once

// A weighted sum of gated MLPs with a backward pass of its own. T tokens,
// D model width, F width of an MLP.

#include <vector>

#include "ATen/ATen.h"
#include "common/model/causal_lm.h"

namespace tributary::contributor {

// One MLP and how much of it every token gets.
struct GatedPart {
  model::Ffn ffn;
  at::Tensor weight_T;  // undefined: 1
};

// sum over parts of weight_T * down(silu(gate x) * up x), [T, D]; one or two
// parts. Gradients reach x, the weights and those matrices that require them.
//
// On fp32 and the CPU: the weights scale the input of down_proj, so that each
// MLP is three products forward; backward five and one more for each matrix
// that is trained; between them one pass over [T, F]. Kept for the backward
// pass: x and, for each part, the outputs of gate_proj and up_proj; they are
// overwritten there, so the backward pass can run once. Frozen matrices may be
// of another dtype and are then converted for each product. Elsewhere it is a
// composition of LibTorch operators.
at::Tensor GatedMix(const at::Tensor& x_TD,
                    const std::vector<GatedPart>& parts);

}  // namespace tributary::contributor
