#include "common/kernels/head_loss.h"

#include <torch/torch.h>

#include <cmath>
#include <vector>

#include "common/kernels/head_blocks.h"
#include "common/kernels/parallel.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

using at::Tensor;

// Losses [T] and, when asked, their gradients [T, D]: softmax - onehot times
// the head.
struct LossAndGradient {
  Tensor losses_T;
  Tensor gradients_TD;
};

LossAndGradient OnHost(const Tensor& hidden, const Tensor& weight,
                       const Tensor& targets, bool gradient) {
  const int64_t tokens = hidden.size(0);
  const int64_t width = hidden.size(1);
  const int64_t* target = targets.const_data_ptr<int64_t>();
  std::vector<float> target_logits(tokens);
  const HeadExponentials all = ExponentiateHead(
      hidden, weight, gradient,
      [&](int64_t t, const float* logits, int64_t first, int64_t count) {
        const int64_t at = target[t] - first;
        if (at >= 0 && at < count) {
          target_logits[t] = logits[at];
        }
      });
  LossAndGradient result = {.losses_T = at::empty({tokens}, hidden.options()),
                            .gradients_TD = all.weighted_TD};
  float* losses = result.losses_T.mutable_data_ptr<float>();
  float* gradients =
      gradient ? result.gradients_TD.mutable_data_ptr<float>() : nullptr;
  const float* rows = weight.const_data_ptr<float>();
  ParallelFor(0, tokens, GrainOf(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const auto [shift, sum] = all.sums_T[t];
      losses[t] =
          static_cast<float>(std::log(sum) + static_cast<double>(shift) -
                             static_cast<double>(target_logits[t]));
      if (gradient) {
        const float* row = rows + target[t] * width;
        const float minus_one = -1.0f;
        ScaleAndAddRows(gradients + t * width, static_cast<float>(1 / sum),
                        &row, &minus_one, 1, width);
      }
    }
  });
  return result;
}

LossAndGradient OnDevice(const Tensor& hidden, const Tensor& weight,
                         const Tensor& targets, bool gradient) {
  const int64_t tokens = hidden.size(0);
  const int64_t vocabulary = weight.size(0);
  LossAndGradient result = {.losses_T = at::empty({tokens}, hidden.options())};
  if (gradient) {
    result.gradients_TD = at::empty_like(hidden);
  }
  const int64_t rows = HeadChunkRows(tokens, vocabulary);
  const Tensor buffer = at::empty({rows, vocabulary}, hidden.options());
  for (int64_t begin = 0; begin < tokens; begin += rows) {
    const int64_t count = std::min(rows, tokens - begin);
    Tensor logits = buffer.narrow(0, 0, count);
    at::mm_out(logits, hidden.narrow(0, begin, count), weight.t());
    const Tensor ids = targets.narrow(0, begin, count).unsqueeze(1);
    const Tensor lse = at::logsumexp(logits, {1}, /*keepdim=*/true);
    result.losses_T.narrow(0, begin, count)
        .copy_((lse - logits.gather(1, ids)).squeeze(1));
    if (gradient) {
      logits.sub_(lse).exp_();
      logits.scatter_add_(1, ids, at::full_like(lse, -1.0));
      Tensor out = result.gradients_TD.narrow(0, begin, count);
      at::mm_out(out, logits, weight);
    }
  }
  return result;
}

LossAndGradient Run(const Tensor& hidden, const Tensor& head,
                    const Tensor& targets, bool gradient) {
  const int64_t tokens = hidden.size(0);
  const int64_t vocabulary = head.size(0);
  TORCH_CHECK(targets.numel() == tokens, "got ", targets.numel(),
              " targets for ", tokens, " states");
  if (tokens > 0) {
    TORCH_CHECK(targets.min().item<int64_t>() >= 0 &&
                    targets.max().item<int64_t>() < vocabulary,
                "a target is outside the vocabulary of ", vocabulary);
  }
  at::NoGradGuard no_gradients;
  const Tensor wide = hidden.to(at::kFloat);
  const Tensor weight = head.to(at::kFloat).contiguous();
  return wide.device().is_cpu() ? OnHost(wide, weight, targets, gradient)
                                : OnDevice(wide, weight, targets, gradient);
}

class Function : public torch::autograd::Function<Function> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context,
                        const Tensor& hidden, const Tensor& head,
                        const Tensor& targets) {
    auto [losses, gradients] = Run(hidden, head, targets, /*gradient=*/true);
    context->save_for_backward({gradients});
    context->saved_data["dtype"] = static_cast<int64_t>(hidden.scalar_type());
    return losses;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto dtype =
        static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    return {(saved[0] * gradients[0].unsqueeze(1)).to(dtype), Tensor(),
            Tensor()};
  }
};

}  // namespace

int64_t HeadChunkRows(int64_t tokens, int64_t vocabulary) {
  // Products of fewer rows run at a lower rate.
  constexpr int64_t kFewest = 128;
  constexpr int64_t kElements = 8 << 20;
  const int64_t most = std::max(
      kFewest,
      std::min(kElements / std::max<int64_t>(1, vocabulary), tokens / 16));
  const int64_t chunks = (tokens + most - 1) / most;
  return chunks > 0 ? (tokens + chunks - 1) / chunks : 1;
}

Tensor HeadLogLoss(const Tensor& hidden_TD, const Tensor& head_VD,
                   const Tensor& targets_T) {
  const Tensor targets = targets_T.to(at::kLong).contiguous();
  if (at::GradMode::is_enabled() && hidden_TD.requires_grad()) {
    return Function::apply(hidden_TD, head_VD, targets);
  }
  return Run(hidden_TD, head_VD, targets, /*gradient=*/false).losses_T;
}

}  // namespace tributary::kernels
