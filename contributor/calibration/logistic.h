#pragma once

#include <vector>

#include "ATen/ATen.h"

namespace tributary::contributor {

// Minimise over w and b
//   sum_t weights_t BCE(z_t, targets_t) + l2 |w|^2,
//   z = w . (whitening (x - centre)) + b,   BCE(z, y) = softplus(z) - y z.
struct LogisticProblem {
  at::Tensor x_TD;          // fp32
  at::Tensor centre_D;      // fp64
  at::Tensor whitening_DD;  // fp64
  std::vector<double> weights;
  std::vector<double> targets;
  double l2 = 0;
};

struct LogisticFit {
  // In the coordinates of x: z = row . x + bias.
  at::Tensor row_D;  // fp64
  double bias = 0;
  double objective = 0;
  double gradient_norm = 0;
  int iterations = 0;
};

// L-BFGS from zero. The data are passed over twice an iteration: scores along
// a direction are linear in the step, so the line search costs T, not T D.
LogisticFit SolveLogistic(const LogisticProblem& problem, int iterations);

}  // namespace tributary::contributor
