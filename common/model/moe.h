#pragma once

#include "common/model/causal_lm.h"

namespace tributary::model {

// The FFN or MoE of a layer, [T, D] to [T, D].
//
// Router: p = softmax(x W^T + b) over all experts in fp32; the K largest are
// chosen; their weights are p, or p divided by their sum. Experts add up in
// ascending order. All experts that stand for the anchor's FFN are one: it is
// computed once, with the sum of their weights.
Tensor RunFeedforward(const CausalLm& lm, int64_t layer, const Tensor& x_TD,
                      const Hooks* hooks);

}  // namespace tributary::model
