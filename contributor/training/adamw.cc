#include "contributor/training/adamw.h"

#include <ATen/ops/_fused_adamw.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "common/kernels/parallel.h"

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

double AdamW::SquaresOf(const Piece& piece,
                        const std::vector<Tensor>& gradients) const {
  return SumOfSquaresBlocked(
      gradients[piece.parameter].const_data_ptr<float>() + piece.begin,
      piece.count);
}

void AdamW::Update(const Piece& piece, const AdamWStep& step,
                   const std::vector<Tensor>& gradients) const {
  AdamWRow(
      step, gradients[piece.parameter].const_data_ptr<float>() + piece.begin,
      piece.count, parameters_[piece.parameter].data_ptr<float>() + piece.begin,
      first_[piece.parameter].data_ptr<float>() + piece.begin,
      second_[piece.parameter].data_ptr<float>() + piece.begin);
}

AdamWStep AdamW::Constants(double learning_rate) const {
  const auto steps = static_cast<double>(steps_ + 1);
  return {
      .decay = static_cast<float>(1 - learning_rate * options_.weight_decay),
      .step = static_cast<float>(learning_rate /
                                 (1 - std::pow(options_.beta1, steps))),
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .correction = static_cast<float>(
          1 / std::sqrt(1 - std::pow(options_.beta2, steps))),
      .epsilon = static_cast<float>(options_.epsilon)};
}

double AdamW::StepOnHost(const std::vector<Tensor>& gradients,
                         double learning_rate) {
  const auto count = static_cast<int64_t>(pieces_.size());
  const bool clips = options_.clip_norm > 0;
  AdamWStep step = Constants(learning_rate);
  std::vector<double> squares(pieces_.size());
  kernels::ParallelFor(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      squares[p] = SquaresOf(pieces_[p], gradients);
      if (!clips && std::isfinite(squares[p])) {
        Update(pieces_[p], step, gradients);  // while it is in the cache
      }
    }
  });
  double total = 0;
  for (const double sum : squares) {
    total += sum;
  }
  const double norm = std::sqrt(total);
  if (!std::isfinite(norm)) {
    return norm;
  }
  ++steps_;
  if (clips) {
    step.scale = norm > options_.clip_norm
                     ? static_cast<float>(options_.clip_norm / norm)
                     : 1.0f;
    kernels::ParallelFor(0, count, 1, [&](int64_t begin, int64_t end) {
      // The last ones may still be in a cache.
      for (int64_t p = end; p-- > begin;) {
        Update(pieces_[p], step, gradients);
      }
    });
  }
  return norm;
}

double AdamW::StepOnDevice(const std::vector<Tensor>& gradients,
                           double learning_rate) {
  std::vector<Tensor> norms;
  for (const Tensor& gradient : gradients) {
    norms.push_back(at::linalg_vector_norm(gradient));
  }
  const double norm =
      at::linalg_vector_norm(at::stack(norms).to(at::kDouble)).item<double>();
  if (!std::isfinite(norm)) {
    return norm;
  }
  ++steps_;
  for (Tensor& count : step_counts_) {
    count.add_(1);
  }
  // The kernel divides gradients by its scale.
  std::optional<Tensor> divisor;
  if (options_.clip_norm > 0 && norm > options_.clip_norm) {
    divisor = at::full({}, norm / options_.clip_norm,
                       parameters_[0].options().dtype(at::kFloat));
  }
  at::_fused_adamw_(
      parameters_, gradients, first_, second_, {}, step_counts_, learning_rate,
      options_.beta1, options_.beta2, options_.weight_decay, options_.epsilon,
      /*amsgrad=*/false, /*maximize=*/false, divisor, std::nullopt);
  return norm;
}

double AdamW::Step(double learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> gradients;
  for (const Tensor& parameter : parameters_) {
    TORCH_CHECK(parameter.grad().defined(), "a parameter has no gradient");
    gradients.push_back(parameter.grad().contiguous());
  }
  const double norm = step_counts_.empty()
                          ? StepOnHost(gradients, learning_rate)
                          : StepOnDevice(gradients, learning_rate);
  gradients.clear();
  for (Tensor& parameter : parameters_) {
    parameter.mutable_grad().reset();
  }
  return norm;
}

}  // namespace tributary::contributor
