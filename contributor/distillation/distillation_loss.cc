#include "contributor/distillation/distillation_loss.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/kernels/head_blocks.h"
#include "common/kernels/head_loss.h"
#include "common/kernels/parallel.h"
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

// What is known of a token when the vocabulary has been passed.
struct TokenLogits {
  const float* top_J = nullptr;  // at the teacher's ids
  float target = 0;
  kernels::ShiftAndSum rest;  // of the others: sum of exp(logit - shift)
};

// A token's loss, and its gradient for the head's rows: `rest` times the
// exponentials of the others, top_J for the teacher's ids; the target's share
// is not in them.
struct TokenGradient {
  double rest = 0;
  float* top_J = nullptr;
};

double TokenLoss(const TokenLogits& z, const float* log_q, int64_t kept,
                 double log_tail, const DistillationOptions& options,
                 TokenGradient* gradient) {
  const double share = options.text_share;
  float largest = z.rest.shift;
  for (int64_t j = 0; j < kept; ++j) {
    largest = std::max(largest, z.top_J[j]);
  }
  const double rest_scale =
      std::exp(static_cast<double>(z.rest.shift) - largest);
  const double tail_sum = z.rest.sum * rest_scale;
  double top_sum = 0;
  for (int64_t j = 0; j < kept; ++j) {
    const double e = std::exp(static_cast<double>(z.top_J[j]) - largest);
    gradient->top_J[j] = static_cast<float>(e);
    top_sum += e;
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
  gradient->rest = tail_factor * rest_scale / sum;
  for (int64_t j = 0; j < kept; ++j) {
    const double log_p = z.top_J[j] - log_sum;
    const double q = std::exp(static_cast<double>(log_q[j]));
    if (q > 0) {
      divergence += q * (log_q[j] - log_p);
    }
    gradient->top_J[j] = static_cast<float>(std::exp(log_p) - (1 - share) * q);
  }
  return share * (log_sum - z.target) + (1 - share) * divergence;
}

// The mean loss of fp32 states on the CPU, and its gradient when asked.
std::pair<double, Tensor> OnHost(const Tensor& hidden, const Tensor& weight,
                                 const Tensor& targets,
                                 const TeacherTargets& teacher,
                                 const DistillationOptions& options,
                                 bool gradient) {
  const int64_t tokens = hidden.size(0);
  const int64_t width = hidden.size(1);
  const int64_t kept = teacher.ids_TJ.size(1);
  const int64_t* ids = teacher.ids_TJ.const_data_ptr<int64_t>();
  const int64_t* target = targets.const_data_ptr<int64_t>();
  std::vector<float> top_logits(tokens * kept);
  std::vector<float> target_logits(tokens);
  const kernels::HeadExponentials all = kernels::ExponentiateHead(
      hidden, weight, gradient,
      [&](int64_t t, float* logits, int64_t first, int64_t count) {
        const auto here = [&](int64_t id) {
          return id >= first && id < first + count;
        };
        if (here(target[t])) {
          target_logits[t] = logits[target[t] - first];
        }
        for (int64_t j = t * kept; j < (t + 1) * kept; ++j) {
          if (here(ids[j])) {
            float& logit = logits[ids[j] - first];
            top_logits[j] = logit;
            logit = -std::numeric_limits<float>::infinity();
          }
        }
      });
  const float* log_q = teacher.log_q_TJ.const_data_ptr<float>();
  const float* log_tail = teacher.log_tail_T.const_data_ptr<float>();
  const float* head = weight.const_data_ptr<float>();
  Tensor gradients = all.weighted_TD;
  float* out = gradient ? gradients.mutable_data_ptr<float>() : nullptr;
  std::vector<double> losses(tokens);
  const auto total = static_cast<float>(tokens);
  kernels::ParallelFor(
      0, tokens, kernels::GrainOf(width * (kept + 1) / 4),
      [&](int64_t begin, int64_t end) {
        std::vector<const float*> rows(kept + 1);
        std::vector<float> weights(kept + 1);
        for (int64_t t = begin; t < end; ++t) {
          TokenGradient of_token = {.top_J = weights.data()};
          losses[t] = TokenLoss({.top_J = top_logits.data() + t * kept,
                                 .target = target_logits[t],
                                 .rest = all.sums_T[t]},
                                log_q + t * kept, kept, log_tail[t], options,
                                &of_token);
          if (!gradient) {
            continue;
          }
          weights[kept] = -static_cast<float>(options.text_share);
          for (int64_t j = 0; j <= kept; ++j) {
            rows[j] = head + (j < kept ? ids[t * kept + j] : target[t]) * width;
            weights[j] /= total;
          }
          kernels::ScaleAndAddRows(
              out + t * width, static_cast<float>(of_token.rest) / total,
              rows.data(), weights.data(),
              options.text_share > 0 ? kept + 1 : kept, width);
        }
      });
  double sum = 0;
  for (const double loss : losses) {
    sum += loss;
  }
  return {sum / static_cast<double>(tokens), gradients};
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
  if (hidden.device().is_cpu() && hidden.scalar_type() == at::kFloat) {
    const auto [loss, gradients] = OnHost(hidden, weight.contiguous(), targets,
                                          teacher, options, gradient);
    return {at::full({}, loss, hidden.options()), gradients};
  }
  const int64_t rows = kernels::HeadChunkRows(tokens, vocabulary);
  Tensor gradients = gradient ? at::empty_like(hidden) : Tensor();
  const Tensor buffer = at::empty({rows, vocabulary}, hidden.options());
  double sum = 0;
  for (int64_t begin = 0; begin < tokens; begin += rows) {
    const int64_t count = std::min(rows, tokens - begin);
    Tensor logits = buffer.narrow(0, 0, count);
    at::mm_out(logits, hidden.narrow(0, begin, count), weight.t());
    sum += ChunkLossGeneric(logits, targets, teacher, begin, options);
    if (gradient) {
      Tensor out = gradients.narrow(0, begin, count);
      at::mm_out(out, logits, weight);
    }
  }
  if (gradient) {
    gradients.div_(tokens);
  }
  return {at::full({}, sum / static_cast<double>(tokens), hidden.options()),
          gradients};
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
    const Tensor saved = context->get_saved_variables()[0];
    // Usually nothing comes between this loss and what is differentiated.
    const bool as_it_is =
        saved.device().is_cpu() && gradients[0].item<double>() == 1;
    return {as_it_is ? saved : saved * gradients[0], Tensor(), Tensor(),
            Tensor(), Tensor()};
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
