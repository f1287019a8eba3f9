#include "contributor/distillation/distillation_loss.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ATen/Parallel.h"
#include "common/kernels/head_loss.h"
#include "common/kernels/vector_loops.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

// Below this the rest's probability counts as this, so that logarithms and
// quotients stay finite.
constexpr double kSmallestTail = 1e-30;

// With softmax p of the logits z, teacher q on the ids J and rest r, and
// s = text_share:
//   dCE/dz_v = p_v - [v = target]
//   dKL/dz_v = p_v - q_v for v in J, p_v (1 - q_r / p_r) otherwise   (tail)
//   dKL/dz_v = p_v - q_v [v in J]                              (renormalised)
// so that the mix is
//   p_v - (1 - s) q_v for v in J, c p_v otherwise, minus s at the target,
//   c = 1 - (1 - s) q_r / p_r (tail) or 1 (renormalised).

// The loss of one row; overwrites the logits with the gradient.
double RowLoss(float* z, int64_t vocabulary, int64_t target, const int64_t* ids,
               const float* log_q, int64_t kept, double log_tail,
               const DistillationOptions& options, std::vector<float>& top) {
  const double share = options.text_share;
  const double target_logit = z[target];
  top.resize(kept);
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < kept; ++j) {
    top[j] = z[ids[j]];
    largest = std::max(largest, top[j]);
    z[ids[j]] = -std::numeric_limits<float>::infinity();
  }
  const auto tail = kernels::SumOfExponentials(z, vocabulary);
  largest = std::max(largest, tail.largest);
  const double tail_sum =
      tail.sum * std::exp(static_cast<double>(tail.largest) - largest);
  double top_sum = 0;
  for (int64_t j = 0; j < kept; ++j) {
    top_sum += std::exp(static_cast<double>(top[j]) - largest);
  }
  const double sum = top_sum + tail_sum;
  const double log_sum = std::log(sum) + largest;
  double divergence = 0;
  double tail_factor = 1;
  if (options.form == DistillationForm::kTail) {
    const double q = std::exp(log_tail);
    const double p = std::max(tail_sum / sum, kSmallestTail);
    if (q > 0) {
      divergence += q * (log_tail - std::log(p));
    }
    tail_factor = 1 - (1 - share) * q / p;
  }
  kernels::ExponentialRow(z, largest, static_cast<float>(tail_factor / sum),
                          vocabulary);
  for (int64_t j = 0; j < kept; ++j) {
    const double log_p = top[j] - log_sum;
    const double q = std::exp(static_cast<double>(log_q[j]));
    if (q > 0) {
      divergence += q * (log_q[j] - log_p);
    }
    z[ids[j]] = static_cast<float>(std::exp(log_p) - (1 - share) * q);
  }
  z[target] -= static_cast<float>(share);
  return share * (log_sum - target_logit) + (1 - share) * divergence;
}

// The sum of the losses of a chunk; `logits` becomes its gradient.
double ChunkLossFast(Tensor& logits, const int64_t* targets,
                     const TeacherTargets& teacher, int64_t first,
                     const DistillationOptions& options) {
  const int64_t vocabulary = logits.size(1);
  const int64_t kept = teacher.ids_TJ.size(1);
  float* data = logits.mutable_data_ptr<float>();
  const int64_t* ids = teacher.ids_TJ.const_data_ptr<int64_t>() + first * kept;
  const float* log_q = teacher.log_q_TJ.const_data_ptr<float>() + first * kept;
  const float* log_tail = teacher.log_tail_T.const_data_ptr<float>() + first;
  std::vector<double> losses(logits.size(0));
  at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> top;
    for (int64_t t = begin; t < end; ++t) {
      losses[t] =
          RowLoss(data + t * vocabulary, vocabulary, targets[t], ids + t * kept,
                  log_q + t * kept, kept, log_tail[t], options, top);
    }
  });
  double sum = 0;
  for (const double loss : losses) {
    sum += loss;
  }
  return sum;
}

double ChunkLossGeneric(Tensor& logits, const Tensor& targets,
                        const TeacherTargets& teacher, int64_t first,
                        const DistillationOptions& options) {
  const int64_t count = logits.size(0);
  const double share = options.text_share;
  const auto type = logits.scalar_type();
  const Tensor ids = teacher.ids_TJ.narrow(0, first, count);
  const Tensor log_q = teacher.log_q_TJ.narrow(0, first, count).to(type);
  const Tensor q = log_q.exp();
  const Tensor target = targets.narrow(0, first, count).unsqueeze(1);
  logits.sub_(at::logsumexp(logits, {1}, /*keepdim=*/true));
  const Tensor log_p = logits.gather(1, ids);
  Tensor loss = logits.gather(1, target).sum() * -share +
                (q * at::where(q > 0, log_q - log_p, 0)).sum() * (1 - share);
  logits.exp_();
  if (options.form == DistillationForm::kTail) {
    const Tensor p = logits.scatter(1, ids, 0)
                         .sum(1, /*keepdim=*/true)
                         .clamp_min(kSmallestTail);
    const Tensor log_tail =
        teacher.log_tail_T.narrow(0, first, count).unsqueeze(1).to(type);
    const Tensor tail = log_tail.exp();
    loss +=
        (tail * at::where(tail > 0, log_tail - p.log(), 0)).sum() * (1 - share);
    logits.mul_(1 - tail / p * (1 - share));
  }
  logits.scatter_(1, ids, log_p.exp() - q * (1 - share));
  logits.scatter_add_(1, target, at::full_like(target, -share, type));
  return loss.item<double>();
}

// The mean loss, and its gradient when asked.
std::pair<Tensor, Tensor> Run(const Tensor& hidden, const Tensor& head,
                              const Tensor& targets,
                              const TeacherTargets& teacher,
                              const DistillationOptions& options,
                              bool gradient) {
  const int64_t tokens = hidden.size(0);
  const int64_t vocabulary = head.size(0);
  TORCH_CHECK(tokens > 0 && targets.numel() == tokens &&
                  teacher.ids_TJ.size(0) == tokens &&
                  teacher.log_tail_T.numel() == tokens,
              "got ", targets.numel(), " targets and ", teacher.ids_TJ.size(0),
              " rows of the teacher for ", tokens, " states");
  for (const Tensor& ids : {targets, teacher.ids_TJ}) {
    TORCH_CHECK(ids.min().item<int64_t>() >= 0 &&
                    ids.max().item<int64_t>() < vocabulary,
                "an id is outside the vocabulary of ", vocabulary);
  }
  const Tensor weight = head.to(hidden.scalar_type());
  const bool fast =
      hidden.device().is_cpu() && hidden.scalar_type() == at::kFloat;
  const int64_t rows = kernels::HeadChunkRows(tokens, vocabulary);
  Tensor gradients = gradient ? at::empty_like(hidden) : Tensor();
  const Tensor buffer = at::empty({rows, vocabulary}, hidden.options());
  double sum = 0;
  for (int64_t begin = 0; begin < tokens; begin += rows) {
    const int64_t count = std::min(rows, tokens - begin);
    Tensor logits = buffer.narrow(0, 0, count);
    at::mm_out(logits, hidden.narrow(0, begin, count), weight.t());
    sum +=
        fast ? ChunkLossFast(logits, targets.const_data_ptr<int64_t>() + begin,
                             teacher, begin, options)
             : ChunkLossGeneric(logits, targets, teacher, begin, options);
    if (gradient) {
      Tensor out = gradients.narrow(0, begin, count);
      at::mm_out(out, logits, weight);
    }
  }
  if (gradient) {
    gradients.div_(tokens);
  }
  return {at::full({}, sum / tokens, hidden.options()), gradients};
}

class Function : public torch::autograd::Function<Function> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context,
                        const Tensor& hidden, const Tensor& head,
                        const Tensor& targets, const TeacherTargets& teacher,
                        const DistillationOptions& options) {
    auto [loss, gradients] =
        Run(hidden, head, targets, teacher, options, /*gradient=*/true);
    context->save_for_backward({gradients});
    return loss;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {saved[0] * gradients[0], Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor DistillationLoss(const Tensor& hidden_TD, const Tensor& head_VD,
                        const Tensor& targets_T, const TeacherTargets& teacher,
                        const DistillationOptions& options) {
  TeacherTargets q = {
      .ids_TJ = teacher.ids_TJ.to(at::kLong).contiguous(),
      .log_q_TJ = teacher.log_q_TJ.to(at::kFloat).contiguous(),
      .log_tail_T = teacher.log_tail_T.to(at::kFloat).contiguous()};
  if (options.form == DistillationForm::kRenormalised) {
    q.log_q_TJ = at::log_softmax(q.log_q_TJ, -1);
  }
  const Tensor targets = targets_T.to(at::kLong).contiguous();
  if (at::GradMode::is_enabled() && hidden_TD.requires_grad()) {
    return Function::apply(hidden_TD, head_VD, targets, q, options);
  }
  return Run(hidden_TD, head_VD, targets, q, options, /*gradient=*/false).first;
}

}  // namespace tributary::contributor
