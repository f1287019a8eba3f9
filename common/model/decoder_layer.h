#pragma once

#include "common/model/attention.h"
#include "common/model/causal_lm.h"
#include "common/model/moe.h"

namespace tributary::model {

// x + change, reusing the change's memory when no gradient is recorded.
inline Tensor AddResidual(const Tensor& x, Tensor change) {
  if (at::GradMode::is_enabled() &&
      (x.requires_grad() || change.requires_grad())) {
    return x + change;
  }
  return change.add_(x);
}

// One decoder layer, [B, S, D] to [B, S, D]; `attend` computes the
// self-attention of its (normalised, in pre-norm families) input.
template <typename Attention>
Tensor RunDecoderLayer(const CausalLm& lm, int64_t index, const Tensor& x_BSD,
                       const Hooks* hooks, const Attention& attend) {
  const DecoderLayer& layer = lm.layers[index];
  TORCH_CHECK(layer.loaded(), "layer ", index, " was not loaded");
  const auto feedforward = [&](const Tensor& input) {
    return RunFeedforward(lm, index, input.flatten(0, 1), hooks)
        .view(input.sizes());
  };
  if (lm.config.block == model_format::BlockForm::kPostNorm) {
    const Tensor h = AddResidual(
        x_BSD, Norm(lm.config, attend(x_BSD), layer.post_attention_norm_D));
    return AddResidual(
        h, Norm(lm.config, feedforward(h), layer.post_feedforward_norm_D));
  }
  const Tensor h =
      AddResidual(x_BSD, attend(Norm(lm.config, x_BSD, layer.input_norm_D)));
  return AddResidual(
      h, feedforward(Norm(lm.config, h, layer.post_attention_norm_D)));
}

}  // namespace tributary::model
