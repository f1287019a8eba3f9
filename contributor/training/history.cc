#include "contributor/training/history.h"

#include <algorithm>
#include <numeric>

#include "common/plot/line_chart.h"

namespace tributary::contributor {

double TrainingHistory::MeanLoss(bool last) const {
  if (losses.empty()) {
    return 0;
  }
  const auto count =
      std::max<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(steps()) / 10);
  const auto begin = last ? losses.end() - count : losses.begin();
  return std::accumulate(begin, begin + count, 0.0) /
         static_cast<double>(count);
}

BestValidation FindBest(const TrainingHistory& history,
                        double min_improvement) {
  BestValidation best;
  for (const Validation& validation : history.validations) {
    if (best.step < 0 ||
        validation.log_loss < best.log_loss - min_improvement) {
      best = {.step = validation.step, .log_loss = validation.log_loss};
    } else {
      ++best.since;
    }
  }
  return best;
}

std::string LossCurve(const TrainingHistory& history,
                      const std::string& title) {
  plot::Series train{.name = "training"};
  for (int64_t step = 0; step < history.steps(); ++step) {
    train.points.push_back(
        {static_cast<double>(step + 1), history.losses[step]});
  }
  plot::Series heldout{.name = "held-out", .marks = true};
  for (const Validation& validation : history.validations) {
    heldout.points.push_back(
        {static_cast<double>(validation.step), validation.log_loss});
  }
  return plot::ToSvg({.title = title,
                      .x_label = "step",
                      .y_label = "nats per token",
                      .series = {std::move(train), std::move(heldout)}});
}

}  // namespace tributary::contributor
