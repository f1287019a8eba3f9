#include "contributor/training/adamw.h"

#include <ATen/ops/_fused_adamw.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "ATen/Parallel.h"
#include "contributor/training/gated_loops.h"

namespace tributary::contributor {

using at::Tensor;

namespace {

constexpr int64_t kPieceElements = 1 << 15;

}  // namespace

AdamW::AdamW(std::vector<Tensor> parameters, const OptimizerOptions& options)
    : options_(options), parameters_(std::move(parameters)) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& parameter = parameters_[i];
    TORCH_CHECK(
        parameter.scalar_type() == at::kFloat && parameter.is_contiguous(),
        "parameters must be contiguous and fp32");
    first_.push_back(at::zeros_like(parameter));
    second_.push_back(at::zeros_like(parameter));
    if (!parameter.device().is_cpu()) {
      step_counts_.push_back(
          at::zeros({}, parameter.options().dtype(at::kFloat)));
      continue;
    }
    for (int64_t at = 0; at < parameter.numel(); at += kPieceElements) {
      pieces_.push_back(
          {i, at, std::min(kPieceElements, parameter.numel() - at)});
    }
  }
}

void AdamW::set_steps(int64_t steps) {
  steps_ = steps;
  for (Tensor& count : step_counts_) {
    count.fill_(static_cast<double>(steps));
  }
}

double AdamW::NormOf(const std::vector<Tensor>& gradients) const {
  if (!step_counts_.empty()) {
    std::vector<Tensor> norms;
    for (const Tensor& gradient : gradients) {
      norms.push_back(at::linalg_vector_norm(gradient));
    }
    return at::linalg_vector_norm(at::stack(norms).to(at::kDouble))
        .item<double>();
  }
  std::vector<double> sums(pieces_.size());
  const auto count = static_cast<int64_t>(pieces_.size());
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const Piece& piece = pieces_[p];
      sums[p] = SumOfSquaresBlocked(
          gradients[piece.parameter].const_data_ptr<float>() + piece.begin,
          piece.count);
    }
  });
  double total = 0;
  for (const double sum : sums) {
    total += sum;
  }
  return std::sqrt(total);
}

void AdamW::Update(const std::vector<Tensor>& gradients, double learning_rate,
                   double scale) {
  if (!step_counts_.empty()) {
    for (Tensor& count : step_counts_) {
      count.add_(1);
    }
    // The kernel divides gradients by its scale.
    std::optional<Tensor> divisor;
    if (scale != 1) {
      divisor =
          at::full({}, 1 / scale, parameters_[0].options().dtype(at::kFloat));
    }
    at::_fused_adamw_(parameters_, gradients, first_, second_, {}, step_counts_,
                      learning_rate, options_.beta1, options_.beta2,
                      options_.weight_decay, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false, divisor,
                      std::nullopt);
    return;
  }
  const auto steps = static_cast<double>(steps_);
  const AdamWStep step = {
      .decay = static_cast<float>(1 - learning_rate * options_.weight_decay),
      .step = static_cast<float>(learning_rate /
                                 (1 - std::pow(options_.beta1, steps))),
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .correction = static_cast<float>(
          1 / std::sqrt(1 - std::pow(options_.beta2, steps))),
      .epsilon = static_cast<float>(options_.epsilon),
      .scale = static_cast<float>(scale)};
  const auto count = static_cast<int64_t>(pieces_.size());
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const Piece& piece = pieces_[p];
      AdamWRow(step,
               gradients[piece.parameter].const_data_ptr<float>() + piece.begin,
               piece.count,
               parameters_[piece.parameter].data_ptr<float>() + piece.begin,
               first_[piece.parameter].data_ptr<float>() + piece.begin,
               second_[piece.parameter].data_ptr<float>() + piece.begin);
    }
  });
}

double AdamW::Step(double learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> gradients;
  for (const Tensor& parameter : parameters_) {
    TORCH_CHECK(parameter.grad().defined(), "a parameter has no gradient");
    gradients.push_back(parameter.grad().contiguous());
  }
  const double norm = NormOf(gradients);
  if (std::isfinite(norm)) {
    ++steps_;
    const bool clip = options_.clip_norm > 0 && norm > options_.clip_norm;
    Update(gradients, learning_rate, clip ? options_.clip_norm / norm : 1.0);
  }
  gradients.clear();
  for (Tensor& parameter : parameters_) {
    parameter.mutable_grad().reset();
  }
  return norm;
}

}  // namespace tributary::contributor
