#pragma once

#include <cstddef>
#include <deque>
#include <vector>

namespace tributary::contributor {

// The limited-memory BFGS approximation of an inverse Hessian (Nocedal and
// Wright, Numerical Optimization, algorithm 7.4). Plain vectors, fp64.
class LbfgsHistory {
 public:
  explicit LbfgsHistory(size_t capacity) : capacity_(capacity) {}

  // Remembers a step and the change of the gradient over it, unless their
  // product says that the curvature is not positive.
  void Add(std::vector<double> step, std::vector<double> gradient_change);

  // -H g: the direction of descent at a point of gradient `gradient`. Without
  // history -g / |g|.
  std::vector<double> Direction(const std::vector<double>& gradient) const;

 private:
  struct Pair {
    std::vector<double> step;
    std::vector<double> change;
    double product;  // step . change
  };
  const size_t capacity_;
  std::deque<Pair> pairs_;
};

// A scalar product in the order of the elements.
double Dot(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace tributary::contributor
