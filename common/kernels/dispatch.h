#pragma once

// Which tokens go to which expert, and their weighted way back.
//
// Shape suffixes: T tokens, E experts, K choices of a token, N rows (pairs of
// a token and an expert that it chose), D model width.

#include <cstdint>
#include <vector>

#include "ATen/ATen.h"

namespace tributary::kernels {

// The ids [T, K] of the K largest entries of each row of p [T, E] (fp32),
// ascending by id; of equal ones the lowest ids. K is at most E.
at::Tensor ChooseExperts(const at::Tensor& p_TE, int64_t k);

// Ids as of ChooseExperts and the softmax over all experts at these ids, which
// is divided by its sum over the chosen when asked. No gradients.
struct Choice {
  at::Tensor ids_TK;
  at::Tensor weights_TK;  // fp32
};
Choice ChooseByLogits(const at::Tensor& logits_TE, int64_t k, bool renormalise);

// Rows of one expert: [begin, begin + count).
struct ExpertRows {
  int64_t expert = 0;
  int64_t begin = 0;
  int64_t count = 0;
};

inline constexpr int64_t kMergedExperts = -1;

// A stable counting sort of the choices [T, K] (ids as of ChooseExperts) by
// expert. The experts for which `merged` is true are one, kMergedExperts: a
// token that chose several of them has one row there. Experts that nobody chose
// are left out.
struct Dispatch {
  std::vector<ExpertRows> experts;  // the merged ones first, then ascending
  at::Tensor tokens_N;              // token of each row, ascending per expert
  at::Tensor rows_TK;               // row of each choice
};
Dispatch SortByExpert(const at::Tensor& ids_TK,
                      const std::vector<bool>& merged);

// x[tokens_N], [N, D] into `out_ND`. No gradients.
void GatherRows(at::Tensor& out_ND, const at::Tensor& x_TD,
                const at::Tensor& tokens_N);

// sum over k of weights[t, k] * out[rows[t, k]], [T, D] in out's dtype: every
// result is written once. Differentiable in out and weights.
at::Tensor CombineRows(const at::Tensor& out_ND, const at::Tensor& rows_TK,
                       const at::Tensor& weights_TK);

}  // namespace tributary::kernels
