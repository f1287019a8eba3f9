#pragma once

#include "common/model/causal_lm.h"

namespace tributary::model {

// Where the tokens of a layer go.
struct Routing {
  Tensor p_TE;        // over all experts; undefined when not asked for
  Tensor ids_TK;      // of the chosen ones, ascending
  Tensor weights_TK;  // fp32
};

// p = softmax(x W^T + b) over all experts in fp32; the K largest are chosen;
// their weights are p, or p divided by their sum. K is lm.top_k, at most E. With
// lm.force_public expert 0 is one of them whatever its probability.
// Without gradients p itself is left out unless `probabilities`.
Routing Route(const CausalLm& lm, int64_t layer, const Tensor& x_TD,
              bool probabilities);

// The FFN or MoE of a layer, [T, D] to [T, D].
//
// Experts add up in ascending order. All experts that stand for the anchor's
// FFN are one: it is computed once per token, for the sum of their weights.
Tensor RunFeedforward(const CausalLm& lm, int64_t layer, const Tensor& x_TD,
                      const Hooks* hooks);

}  // namespace tributary::model
