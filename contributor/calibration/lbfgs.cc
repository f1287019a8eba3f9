#include "contributor/calibration/lbfgs.h"

#include <cmath>
#include <utility>

namespace tributary::contributor {
namespace {

void AddScaled(double factor, const std::vector<double>& from,
               std::vector<double>* to) {
  for (size_t i = 0; i < to->size(); ++i) {
    (*to)[i] += factor * from[i];
  }
}

}  // namespace

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

void LbfgsHistory::Add(std::vector<double> step, std::vector<double> change) {
  const double product = Dot(step, change);
  if (!(product > 1e-14 * Dot(change, change))) {
    return;
  }
  pairs_.push_back({std::move(step), std::move(change), product});
  if (pairs_.size() > capacity_) {
    pairs_.pop_front();
  }
}

std::vector<double> LbfgsHistory::Direction(
    const std::vector<double>& gradient) const {
  std::vector<double> direction = gradient;
  std::vector<double> alpha(pairs_.size());
  for (size_t i = pairs_.size(); i-- > 0;) {
    alpha[i] = Dot(pairs_[i].step, direction) / pairs_[i].product;
    AddScaled(-alpha[i], pairs_[i].change, &direction);
  }
  const double norm = std::sqrt(Dot(gradient, gradient));
  double scale = norm > 0 ? 1 / norm : 1;
  if (!pairs_.empty()) {
    const Pair& last = pairs_.back();
    scale = last.product / Dot(last.change, last.change);
  }
  for (double& value : direction) {
    value *= scale;
  }
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const double beta = Dot(pairs_[i].change, direction) / pairs_[i].product;
    AddScaled(alpha[i] - beta, pairs_[i].step, &direction);
  }
  for (double& value : direction) {
    value = -value;
  }
  return direction;
}

}  // namespace tributary::contributor
