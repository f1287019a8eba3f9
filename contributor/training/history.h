#pragma once

// What a run has measured so far, and what follows from it.

#include <cstdint>
#include <string>
#include <vector>

namespace tributary::contributor {

// Held-out log-loss behind `step` steps, nats per token.
struct Validation {
  int64_t step = 0;
  double log_loss = 0;
};

struct TrainingHistory {
  std::vector<double> losses;  // of the steps
  std::vector<Validation> validations;

  int64_t steps() const { return static_cast<int64_t>(losses.size()); }
  // Mean loss of the first or last tenth of the steps; 0 before the first.
  double MeanLoss(bool last) const;
};

// The best measurement: the first is one, and each that is lower than the best
// one before it by more than `min_improvement`.
struct BestValidation {
  int64_t step = -1;  // -1: none yet
  double log_loss = 0;
  int64_t since = 0;  // measurements behind it
};
BestValidation FindBest(const TrainingHistory& history, double min_improvement);

// Training and held-out losses by step, as a picture (SVG).
std::string LossCurve(const TrainingHistory& history, const std::string& title);

}  // namespace tributary::contributor
