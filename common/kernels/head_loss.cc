#include "common/kernels/head_loss.h"

#include <torch/torch.h>

#include <cmath>

#include "ATen/Parallel.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

using at::Tensor;

// Losses of a chunk of logits; turns the logits into softmax - onehot, the
// gradient of the losses, when asked.
void LossOfChunk(Tensor& logits, const int64_t* targets, float* losses,
                 bool gradient) {
  const int64_t vocabulary = logits.size(1);
  float* data = logits.mutable_data_ptr<float>();
  at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = data + t * vocabulary;
      const auto [largest, sum] = SumOfExponentials(row, vocabulary);
      losses[t] =
          static_cast<float>(std::log(sum) + static_cast<double>(largest) -
                             static_cast<double>(row[targets[t]]));
      if (gradient) {
        ExponentialRow(row, largest, static_cast<float>(1.0 / sum), vocabulary);
        row[targets[t]] -= 1.0f;
      }
    }
  });
}

// Losses [T] and, when asked, their gradients [T, D].
std::pair<Tensor, Tensor> Run(const Tensor& hidden, const Tensor& head,
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
  const bool fast = hidden.device().is_cpu();
  const Tensor wide = hidden.to(at::kFloat);
  const Tensor weight = head.to(at::kFloat);
  Tensor losses = at::empty({tokens}, wide.options());
  Tensor gradients = gradient ? at::empty_like(wide) : Tensor();
  const int64_t rows = HeadChunkRows(tokens, vocabulary);
  Tensor buffer = at::empty({rows, vocabulary}, wide.options());
  for (int64_t begin = 0; begin < tokens; begin += rows) {
    const int64_t count = std::min(rows, tokens - begin);
    Tensor logits = buffer.narrow(0, 0, count);
    at::mm_out(logits, wide.narrow(0, begin, count), weight.t());
    if (fast) {
      LossOfChunk(logits, targets.const_data_ptr<int64_t>() + begin,
                  losses.mutable_data_ptr<float>() + begin, gradient);
    } else {
      const Tensor ids = targets.narrow(0, begin, count).unsqueeze(1);
      const Tensor lse = at::logsumexp(logits, {1}, /*keepdim=*/true);
      losses.narrow(0, begin, count)
          .copy_((lse - logits.gather(1, ids)).squeeze(1));
      if (gradient) {
        logits.sub_(lse).exp_();
        logits.scatter_add_(1, ids, at::full_like(lse, -1.0));
      }
    }
    if (gradient) {
      Tensor out = gradients.narrow(0, begin, count);
      at::mm_out(out, logits, weight);
    }
  }
  return {losses, gradients};
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
  return Run(hidden_TD, head_VD, targets, /*gradient=*/false).first;
}

}  // namespace tributary::kernels
