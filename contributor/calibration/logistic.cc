#include "contributor/calibration/logistic.h"

#include <algorithm>
#include <cmath>

#include "contributor/calibration/lbfgs.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr size_t kHistory = 10;
// The line search ends where the slope is this fraction of the first one.
constexpr double kSlopeFraction = 0.1;
constexpr double kSufficientDecrease = 1e-4;
constexpr int kLineSearchSteps = 30;
constexpr double kGradientTolerance = 1e-7;

Tensor ToTensor(const std::vector<double>& values, int64_t size) {
  return at::from_blob(const_cast<double*>(values.data()), {size},
                       at::TensorOptions(at::kDouble))
      .clone();
}

// Value and derivatives along a direction.
struct LinePoint {
  double value = 0;
  double slope = 0;
  double curvature = 0;
};

class Objective {
 public:
  explicit Objective(const LogisticProblem& problem)
      : problem_(problem),
        width_(problem.x_TD.size(1)),
        tokens_(problem.weights.size()) {}

  // The row in the coordinates of x for parameters (w, b), and its bias.
  std::pair<Tensor, double> Row(const std::vector<double>& parameters) const {
    const Tensor row =
        at::mv(problem_.whitening_DD.t(), ToTensor(parameters, width_));
    const double shift = at::dot(row, problem_.centre_D).item<double>();
    return {row, parameters[width_] - shift};
  }

  // Scores of all tokens.
  std::vector<double> Scores(const std::vector<double>& parameters) const {
    const auto [row, bias] = Row(parameters);
    const Tensor z = at::mv(problem_.x_TD, row.to(at::kFloat)).cpu();
    const float* values = z.const_data_ptr<float>();
    std::vector<double> scores(tokens_);
    for (size_t t = 0; t < tokens_; ++t) {
      scores[t] = values[t] + bias;
    }
    return scores;
  }

  // The gradient at `parameters`, whose scores are given.
  std::vector<double> Gradient(const std::vector<double>& parameters,
                               const std::vector<double>& scores) const {
    Tensor residual = at::empty({static_cast<int64_t>(tokens_)}, at::kFloat);
    float* values = residual.mutable_data_ptr<float>();
    double sum = 0;
    for (size_t t = 0; t < tokens_; ++t) {
      const double value =
          problem_.weights[t] *
          (1 / (1 + std::exp(-scores[t])) - problem_.targets[t]);
      sum += value;
      values[t] = static_cast<float>(value);
    }
    Tensor moved =
        at::mv(problem_.x_TD.t(), residual.to(problem_.x_TD.device()))
            .to(at::kDouble)
            .sub_(problem_.centre_D, sum);
    moved = at::mv(problem_.whitening_DD, moved).cpu();
    const double* data = moved.const_data_ptr<double>();
    std::vector<double> gradient(width_ + 1);
    for (int64_t i = 0; i < width_; ++i) {
      gradient[i] = data[i] + 2 * problem_.l2 * parameters[i];
    }
    gradient[width_] = sum;
    return gradient;
  }

  // At parameters + step * direction, from the scores of both.
  LinePoint Along(const std::vector<double>& scores,
                  const std::vector<double>& direction_scores,
                  const std::vector<double>& parameters,
                  const std::vector<double>& direction, double step) const {
    LinePoint point;
    for (size_t t = 0; t < tokens_; ++t) {
      const double z = scores[t] + step * direction_scores[t];
      const double decay = std::exp(-std::abs(z));
      const double sigmoid = (z >= 0 ? 1 : decay) / (1 + decay);
      const double weight = problem_.weights[t];
      point.value += weight * (std::max(z, 0.0) + std::log1p(decay) -
                               problem_.targets[t] * z);
      point.slope +=
          weight * (sigmoid - problem_.targets[t]) * direction_scores[t];
      point.curvature += weight * sigmoid * (1 - sigmoid) *
                         direction_scores[t] * direction_scores[t];
    }
    for (int64_t i = 0; i < width_; ++i) {
      const double w = parameters[i] + step * direction[i];
      point.value += problem_.l2 * w * w;
      point.slope += 2 * problem_.l2 * w * direction[i];
      point.curvature += 2 * problem_.l2 * direction[i] * direction[i];
    }
    return point;
  }

 private:
  const LogisticProblem& problem_;
  const int64_t width_;
  const size_t tokens_;
};

// A step that fulfils the strong Wolfe conditions: Newton on the slope, which
// grows with the step (the objective is convex), kept inside a bracket.
template <typename AlongFunction>
double SearchLine(const LinePoint& start, const AlongFunction& along) {
  double low = 0, high = 0, step = 1;
  for (int i = 0; i < kLineSearchSteps; ++i) {
    const LinePoint point = along(step);
    if (std::abs(point.slope) <= kSlopeFraction * std::abs(start.slope) &&
        point.value <= start.value + kSufficientDecrease * step * start.slope) {
      return step;
    }
    (point.slope < 0 ? low : high) = step;
    double next = step - point.slope / point.curvature;
    if (high > 0 && !(next > low && next < high)) {
      next = (low + high) / 2;
    } else if (high == 0 && !(next > low && next < 16 * step)) {
      next = 4 * step;
    }
    step = next;
  }
  return low;
}

}  // namespace

LogisticFit SolveLogistic(const LogisticProblem& problem, int iterations) {
  const Objective objective(problem);
  std::vector<double> parameters(problem.x_TD.size(1) + 1, 0.0);
  std::vector<double> scores = objective.Scores(parameters);
  std::vector<double> gradient = objective.Gradient(parameters, scores);
  LbfgsHistory history(kHistory);
  LogisticFit fit;
  for (; fit.iterations < iterations; ++fit.iterations) {
    if (std::sqrt(Dot(gradient, gradient)) < kGradientTolerance) {
      break;
    }
    const std::vector<double> direction = history.Direction(gradient);
    const std::vector<double> direction_scores = objective.Scores(direction);
    const auto along = [&](double step) {
      return objective.Along(scores, direction_scores, parameters, direction,
                             step);
    };
    const double step = SearchLine(along(0), along);
    if (step == 0) {
      break;  // as far as the arithmetic carries
    }
    std::vector<double> moved(direction);
    for (size_t i = 0; i < moved.size(); ++i) {
      moved[i] *= step;
      parameters[i] += moved[i];
    }
    for (size_t t = 0; t < scores.size(); ++t) {
      scores[t] += step * direction_scores[t];
    }
    std::vector<double> change = objective.Gradient(parameters, scores);
    gradient.swap(change);
    for (size_t i = 0; i < change.size(); ++i) {
      change[i] = gradient[i] - change[i];
    }
    history.Add(std::move(moved), std::move(change));
  }
  const std::vector<double> zero(parameters.size(), 0.0);
  fit.objective = objective.Along(scores, scores, parameters, zero, 0).value;
  fit.gradient_norm = std::sqrt(Dot(gradient, gradient));
  std::tie(fit.row_D, fit.bias) = objective.Row(parameters);
  return fit;
}

}  // namespace tributary::contributor
