#include "contributor/calibration/discriminant.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "contributor/calibration/logistic.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using Class = ActivationSamples::Class;
using Kind = Class::Kind;

// Least squares: the score wanted on negative tokens, and their weight.
constexpr double kNegativeScore = -3.0;
constexpr double kNegativeWeight = 3.0;

// Mean and second moment about a centre, fp64.
struct Moments {
  Tensor mean_D;
  Tensor second_DD;
};

Tensor Rows(const ActivationSamples& samples, const Class& c) {
  return samples.x_TD.slice(0, c.begin, c.end);
}

// Weight of every class among the negatives; 0 for own text.
StatusOr<std::vector<double>> NegativeWeights(const ActivationSamples& samples,
                                              double prose_weight) {
  int64_t own = 0, prose = 0, background = 0;
  for (const Class& c : samples.classes) {
    if (c.end <= c.begin || c.begin < 0 || c.end > samples.x_TD.size(0)) {
      return InvalidArgument(
          "router samples: class {} has no activations; calibrate again",
          c.name);
    }
    (c.kind == Kind::kOwn     ? own
     : c.kind == Kind::kProse ? prose
                              : background) += 1;
  }
  if (own != 1 || prose + background == 0) {
    return InvalidArgument(
        "router samples: got {} own, {} prose and {} background classes, "
        "wanted one own and at least one public class",
        own, prose, background);
  }
  if (prose == 0 || background == 0) {
    prose_weight = prose == 0 ? 0 : 1;
  }
  std::vector<double> weights;
  for (const Class& c : samples.classes) {
    weights.push_back(c.kind == Kind::kOwn ? 0
                      : c.kind == Kind::kProse
                          ? prose_weight / prose
                          : (1 - prose_weight) / background);
  }
  return weights;
}

// Mean over classes by weight, and second moment about it. Centred before the
// fp32 products: one direction is large and nearly constant.
Moments ClassMoments(const ActivationSamples& samples,
                     const std::vector<double>& weights) {
  const int64_t d = samples.x_TD.size(1);
  const auto fp64 = samples.x_TD.options().dtype(at::kDouble);
  Moments moments{at::zeros({d}, fp64), at::zeros({d, d}, fp64)};
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) {
      moments.mean_D.add_(
          Rows(samples, samples.classes[i]).mean(0, false, at::kDouble),
          weights[i]);
    }
  }
  const Tensor centre = moments.mean_D.to(at::kFloat);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) {
      const Tensor x = Rows(samples, samples.classes[i]) - centre;
      moments.second_DD.add_(at::mm(x.t(), x).to(at::kDouble),
                             weights[i] / x.size(0));
    }
  }
  return moments;
}

// A + fraction * mean diagonal element * I.
Tensor AddRidge(const Tensor& a_DD, double fraction) {
  Tensor ridged = a_DD.clone();
  ridged.diagonal().add_(a_DD.diagonal().mean() * fraction);
  return ridged;
}

StatusOr<Tensor> Cholesky(const Tensor& a_DD, const char* what) {
  const auto [lower, info] = at::linalg_cholesky_ex(a_DD);
  if (info.item<int>() != 0 || !at::isfinite(lower).all().item<bool>()) {
    return InvalidArgument(
        "router samples: the {} is not positive definite; activations are not "
        "finite or the ridge is too small",
        what);
  }
  return lower;
}

StatusOr<RouterRow> FitLeastSquares(const Moments& own, const Moments& negative,
                                    double ridge) {
  const Tensor normal =
      own.second_DD + at::outer(own.mean_D, own.mean_D) +
      (negative.second_DD + at::outer(negative.mean_D, negative.mean_D)) *
          kNegativeWeight;
  const Tensor right = negative.mean_D * (kNegativeWeight * kNegativeScore);
  ASSIGN_OR_RETURN(const Tensor lower,
                   Cholesky(AddRidge(normal, ridge), "normal matrix"));
  return RouterRow{
      at::cholesky_solve(right.unsqueeze(1), lower).squeeze(1).to(at::kFloat),
      0};
}

StatusOr<RouterRow> FitLogistic(const ActivationSamples& samples,
                                const std::vector<double>& weights,
                                const Moments& negative,
                                const DiscriminantOptions& options,
                                Discriminant* result) {
  ASSIGN_OR_RETURN(
      const Tensor lower,
      Cholesky(AddRidge(negative.second_DD, options.ridge), "covariance"));
  const int64_t d = lower.size(0);
  LogisticProblem problem;
  problem.x_TD = samples.x_TD;
  problem.centre_D = negative.mean_D;
  // Rows of whitened coordinates: x_w = L^-1 (x - centre).
  problem.whitening_DD = at::linalg_solve_triangular(
      lower, at::eye(d, lower.options()), /*upper=*/false);
  problem.l2 = options.l2;
  problem.weights.assign(samples.x_TD.size(0), 0);
  problem.targets.assign(samples.x_TD.size(0), 0);
  for (size_t i = 0; i < weights.size(); ++i) {
    const Class& c = samples.classes[i];
    const bool own = c.kind == Kind::kOwn;
    const double weight = (own ? 1.0 : weights[i]) / (c.end - c.begin);
    std::fill(problem.weights.begin() + c.begin,
              problem.weights.begin() + c.end, weight);
    std::fill(problem.targets.begin() + c.begin,
              problem.targets.begin() + c.end, own ? options.target : 0.0);
  }
  const LogisticFit fit = SolveLogistic(problem, options.iterations);
  result->objective = fit.objective;
  result->gradient_norm = fit.gradient_norm;
  return RouterRow{fit.row_D.to(at::kFloat), fit.bias};
}

// r + b u.
StatusOr<RouterRow> Fold(const RouterRow& row, const Moments& own,
                         const Moments& negative, double ridge) {
  if (row.bias == 0) {
    return row;
  }
  const Tensor second =
      (own.second_DD + at::outer(own.mean_D, own.mean_D) + negative.second_DD +
       at::outer(negative.mean_D, negative.mean_D)) /
      2;
  const Tensor mean = (own.mean_D + negative.mean_D) / 2;
  ASSIGN_OR_RETURN(const Tensor lower,
                   Cholesky(AddRidge(second, ridge), "second moment"));
  const Tensor u =
      at::cholesky_solve(mean.unsqueeze(1), lower).squeeze(1).mul_(row.bias);
  return RouterRow{(row.weight_D.to(at::kDouble) + u).to(at::kFloat), 0};
}

void Measure(const ActivationSamples& samples, Discriminant* result) {
  const Tensor folded_T = at::mv(samples.x_TD, result->folded.weight_D);
  const Tensor share_T = at::sigmoid(folded_T);
  double prose = 0, background = 0;
  int64_t proses = 0, backgrounds = 0;
  for (const Class& c : samples.classes) {
    const double mean = share_T.slice(0, c.begin, c.end).mean().item<double>();
    if (c.kind == Kind::kOwn) {
      const Tensor unfolded_T =
          at::mv(Rows(samples, c), result->unfolded.weight_D)
              .add_(result->unfolded.bias);
      result->own_share = mean;
      result->fold_error = (folded_T.slice(0, c.begin, c.end) - unfolded_T)
                               .square_()
                               .mean()
                               .sqrt()
                               .item<double>();
    } else if (c.kind == Kind::kProse) {
      prose += mean;
      ++proses;
    } else {
      background += mean;
      ++backgrounds;
    }
  }
  result->prose_share = proses > 0 ? prose / proses : 0;
  result->background_share = backgrounds > 0 ? background / backgrounds : 0;
  result->row_norm = result->folded.weight_D.norm().item<double>();
}

}  // namespace

StatusOr<Discriminant> FitDiscriminant(const ActivationSamples& samples,
                                       const DiscriminantOptions& options) {
  const at::NoGradGuard no_grad;
  ASSIGN_OR_RETURN(const std::vector<double> weights,
                   NegativeWeights(samples, options.prose_weight));
  std::vector<double> own_weights;
  for (const Class& c : samples.classes) {
    own_weights.push_back(c.kind == Kind::kOwn ? 1 : 0);
  }
  const Moments negative = ClassMoments(samples, weights);
  const Moments own = ClassMoments(samples, own_weights);
  Discriminant result;
  if (options.method == DiscriminantOptions::Method::kClosedForm) {
    ASSIGN_OR_RETURN(result.unfolded,
                     FitLeastSquares(own, negative, options.ridge));
  } else {
    ASSIGN_OR_RETURN(result.unfolded,
                     FitLogistic(samples, weights, negative, options, &result));
  }
  ASSIGN_OR_RETURN(result.folded,
                   Fold(result.unfolded, own, negative, options.fold_ridge));
  Measure(samples, &result);
  if (!std::isfinite(result.own_share + result.fold_error + result.row_norm)) {
    return InvalidArgument(
        "router samples: activations are not finite; calibrate again");
  }
  return result;
}

}  // namespace tributary::contributor
