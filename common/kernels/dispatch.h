#pragma once

// Which tokens go to which expert, and their weighted way back.

#include <cstdint>
#include <vector>

#include "ATen/ATen.h"

namespace tributary::kernels {

// The ids [T, K] of the K largest entries of each row of p [T, E] (fp32),
// ascending by id; of equal ones the lowest ids. K is at most E.
at::Tensor ChooseExperts(const at::Tensor& p_TE, int64_t k);

// The tokens of one expert.
struct ExpertTokens {
  int64_t expert = 0;
  // Ascending token numbers, int64 [T'].
  at::Tensor tokens;
  // Where their weights are in the flattened [T, K], int64 [T'].
  at::Tensor slots;
};

// A stable counting sort of the choices [T, K] (ids as of ChooseExperts) by
// expert. Experts for which `merged` is true are left out of `experts`; the
// tokens that chose at least one of them are `merged_tokens`. Experts that
// nobody chose are left out.
struct Dispatch {
  std::vector<ExpertTokens> experts;  // ascending
  at::Tensor merged_tokens;           // ascending, int64
};
Dispatch SortByExpert(const at::Tensor& ids_TK,
                      const std::vector<bool>& merged);

// y[tokens[i]] += weights[i] * x[i], for distinct tokens. Differentiable (a
// new tensor) when x, y or the weights require gradients, in place otherwise.
at::Tensor AddWeightedRows(at::Tensor y_TD, const at::Tensor& tokens,
                           const at::Tensor& x, const at::Tensor& weights);

}  // namespace tributary::kernels
