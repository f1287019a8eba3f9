#include "contributor/training/adamw.h"

#include <ATen/ops/_fused_adamw.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace tributary::contributor {

using at::Tensor;

AdamW::AdamW(std::vector<Tensor> parameters, const OptimizerOptions& options)
    : options_(options), parameters_(std::move(parameters)) {
  const at::NoGradGuard no_grad;
  for (const Tensor& parameter : parameters_) {
    first_.push_back(at::zeros_like(parameter));
    second_.push_back(at::zeros_like(parameter));
    step_counts_.push_back(
        at::zeros({}, parameter.options().dtype(at::kFloat)));
  }
}

void AdamW::set_steps(int64_t steps) {
  steps_ = steps;
  for (Tensor& count : step_counts_) {
    count.fill_(static_cast<double>(steps));
  }
}

double AdamW::Step(double learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> gradients, norms;
  for (const Tensor& parameter : parameters_) {
    TORCH_CHECK(parameter.grad().defined(), "a parameter has no gradient");
    gradients.push_back(parameter.grad());
    norms.push_back(at::linalg_vector_norm(gradients.back()));
  }
  const double norm =
      at::linalg_vector_norm(at::stack(norms).to(at::kDouble)).item<double>();
  if (std::isfinite(norm)) {
    // The kernel divides gradients by the scale.
    std::optional<Tensor> scale;
    if (options_.clip_norm > 0 && norm > options_.clip_norm) {
      scale = at::full({}, norm / options_.clip_norm,
                       parameters_[0].options().dtype(at::kFloat));
    }
    for (Tensor& count : step_counts_) {
      count.add_(1);
    }
    ++steps_;
    at::_fused_adamw_(parameters_, gradients, first_, second_, {}, step_counts_,
                      learning_rate, options_.beta1, options_.beta2,
                      options_.weight_decay, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false, scale,
                      std::nullopt);
  }
  for (Tensor& parameter : parameters_) {
    parameter.mutable_grad().reset();
  }
  return norm;
}

}  // namespace tributary::contributor
