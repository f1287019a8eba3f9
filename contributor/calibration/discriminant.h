#pragma once

// Router rows that tell own text from public text, made from activations of
// the anchor alone. T tokens, D model width.
//
// A row scores a token as z = r . x + b; the public expert scores 0, so that
// the expert's share of a token is sigmoid(z) in the two-expert model.

#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"

namespace tributary::contributor {

// Activations at the input of one layer's MoE, grouped by where they come from.
struct ActivationSamples {
  struct Class {
    enum class Kind { kOwn, kProse, kBackground } kind = Kind::kOwn;
    std::string name;
    int64_t begin = 0;  // rows of x_TD
    int64_t end = 0;
  };
  at::Tensor x_TD;  // fp32
  // Exactly one kOwn, at least one other.
  std::vector<Class> classes;
};

struct DiscriminantOptions {
  enum class Method {
    // Logistic regression: BCE(z, target) averaged over own tokens, plus
    // softplus(z) averaged over negative tokens, plus l2 |w|^2, where w is the
    // row in coordinates whitened by the negatives' covariance.
    kLogistic,
    // Bias-free least squares: 0 on own tokens, -3 on negative ones, which
    // weigh three times as much in total.
    kClosedForm,
  } method = Method::kLogistic;
  double target = 0.5;
  // Weight of public prose among the negatives; the background classes share
  // the rest equally. Without one of the two the other takes all.
  double prose_weight = 0.25;
  double l2 = 0.005;
  // Added to the diagonal of the covariance (logistic) or of the normal matrix
  // (closed form) as a fraction of its mean diagonal element.
  double ridge = 0.02;
  int iterations = 40;
  // The same for the second moment that biases are folded with.
  double fold_ridge = 1e-3;
};

struct RouterRow {
  at::Tensor weight_D;  // fp32
  double bias = 0;
};

struct Discriminant {
  // Without a bias: what is trained with, merged and exported.
  RouterRow folded;
  RouterRow unfolded;
  // Mean share of the expert under the folded row; the background's is the
  // mean over its classes.
  double own_share = 0;
  double prose_share = 0;
  double background_share = 0;
  // Root mean square of (folded - unfolded) z over own tokens.
  double fold_error = 0;
  double row_norm = 0;
  // Of the logistic fit: the objective and the gradient's norm at the end.
  double objective = 0;
  double gradient_norm = 0;
};

// Fits the row of one layer. The bias is folded with u = A^-1 S, where A is
// the mean second moment and S the mean of x over own and negative tokens, half
// each: after RMSNorm x . u is close to 1. INVALID_ARGUMENT for missing
// classes or values that are not finite; throws as LibTorch does.
StatusOr<Discriminant> FitDiscriminant(const ActivationSamples& samples,
                                       const DiscriminantOptions& options);

}  // namespace tributary::contributor
