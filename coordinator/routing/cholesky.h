#pragma once

// Solves with symmetric positive definite matrices in fp64. Written out, not
// taken from a library: the order of operations is fixed, so that the same
// numbers give the same bits on every machine.

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

class Cholesky {
 public:
  // Factors A = L L^T from the lower triangle of the row-major `a` [n, n].
  // FAILED_PRECONDITION naming the first column whose pivot is not positive.
  static StatusOr<Cholesky> Factor(std::vector<double> a, int64_t n);

  // x = A^-1 b, in place.
  void Solve(std::span<double> b) const;

  // Estimate of |A|_1 |A^-1|_1 from below, seldom by more than a factor of 3
  // (Hager 1984; Higham, Accuracy and Stability, algorithm 15.1).
  double Condition() const;

 private:
  Cholesky(std::vector<double> lower, int64_t n, double norm)
      : lower_(std::move(lower)), n_(n), norm_(norm) {}

  std::vector<double> lower_;  // [n, n], below and on the diagonal
  int64_t n_;
  double norm_;  // |A|_1
};

}  // namespace tributary::coordinator
