#include "coordinator/evaluation/ensemble.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace tributary::coordinator {
namespace {

// log(sum(exp(values))).
double LogSumExp(const std::vector<double>& values) {
  const double highest = *std::max_element(values.begin(), values.end());
  if (!(highest > -std::numeric_limits<double>::infinity())) {
    return highest;
  }
  double sum = 0;
  for (const double value : values) {
    sum += std::exp(value - highest);
  }
  return highest + std::log(sum);
}

}  // namespace

std::vector<double> EnsembleLosses(
    const std::vector<std::vector<double>>& losses) {
  std::vector<double> ensemble;
  if (losses.empty()) {
    return ensemble;
  }
  std::vector<double> evidence(losses.size(), 0.0);  // log, unnormalised
  std::vector<double> joint(losses.size());
  for (size_t t = 0; t < losses[0].size(); ++t) {
    for (size_t m = 0; m < losses.size(); ++m) {
      joint[m] = evidence[m] - losses[m][t];
    }
    const double after = LogSumExp(joint);
    ensemble.push_back(LogSumExp(evidence) - after);
    for (size_t m = 0; m < losses.size(); ++m) {
      evidence[m] = joint[m] - after;
    }
  }
  return ensemble;
}

}  // namespace tributary::coordinator
