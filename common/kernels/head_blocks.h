#pragma once

#include <vector>

#include "ATen/ATen.h"
#include "c10/util/FunctionRef.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {

// Sees, and may change, the logits [first, first + count) of a token before
// they become exponentials; called on several threads, for each token in the
// order of the vocabulary.
using VisitLogits = c10::function_ref<void(int64_t token, float* logits,
                                           int64_t first, int64_t count)>;

struct HeadExponentials {
  // Of each token: sum over the vocabulary of exp(logit - shift).
  std::vector<ShiftAndSum> sums_T;
  // sum_v exp(logit_v - shift) head_v [T, D]; undefined unless asked for.
  at::Tensor weighted_TD;
};

// The logits hidden head^T of hidden [T, D] with a head [V, D], both fp32 and
// on the CPU, a block of the vocabulary at a time for all tokens: the head is
// read once, products are as large as they can be, and no more is held than
// HeadBlockColumns says. Exponentials are taken with the largest logit so far,
// so that sums, and sums of the head's rows weighted by them, need no second
// pass: what is already summed is scaled where a larger logit comes. What a
// softmax divides by is known at the end; who needs p instead of the
// exponentials scales the result, which is V / D times smaller.
HeadExponentials ExponentiateHead(const at::Tensor& hidden_TD,
                                  const at::Tensor& head_VD, bool weighted,
                                  VisitLogits visit);

// Columns of logits that are held at a time for all tokens: a 24th of them, but
// enough for a product at full speed, and at most 32 MiB.
int64_t HeadBlockColumns(int64_t tokens, int64_t vocabulary);

}  // namespace tributary::kernels
