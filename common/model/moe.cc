#include "common/model/moe.h"

#include "common/kernels/dispatch.h"
#include "common/model/attention.h"

namespace tributary::model {
namespace {

bool NeedsGradient(const Ffn& ffn, const Tensor& x) {
  return at::GradMode::is_enabled() &&
         (x.requires_grad() || ffn.gate_FD.requires_grad() ||
          ffn.up_FD.requires_grad() || ffn.down_DF.requires_grad());
}

// One layer's computation; `x_TD` is its input.
class Feedforward {
 public:
  Feedforward(const CausalLm& lm, int64_t layer, const Tensor& x_TD,
              const Hooks* hooks)
      : lm_(lm),
        layer_(layer),
        weights_(lm.layers[layer]),
        x_TD_(x_TD),
        hooks_(hooks) {}

  Tensor Run() const {
    if (!weights_.routes()) {
      return RunFfn(weights_.ffn, x_TD_, 0);
    }
    const auto experts = static_cast<int64_t>(weights_.experts.size());
    const int64_t k = std::min(lm_.top_k, experts);
    const Tensor p_TE = Probabilities();
    if (k == experts && hooks_ == nullptr) {
      return RunAll(Weights(p_TE));
    }
    const Tensor ids_TK = kernels::ChooseExperts(p_TE, k);
    const Tensor weights_TK = Weights(p_TE.gather(1, ids_TK));
    if (hooks_ != nullptr && hooks_->routing) {
      hooks_->routing(layer_, p_TE, ids_TK, weights_TK);
    }
    return k == experts ? RunAll(weights_TK) : RunChosen(ids_TK, weights_TK);
  }

 private:
  Tensor Probabilities() const {
    const Tensor x = x_TD_.to(at::kFloat);
    const Tensor logits =
        weights_.router_bias_E.defined()
            ? at::linear(x, weights_.router_ED, weights_.router_bias_E)
            : at::linear(x, weights_.router_ED);
    return at::softmax(logits, -1);
  }

  Tensor Weights(const Tensor& chosen) const {
    return lm_.renormalise ? chosen / chosen.sum(-1, /*keepdim=*/true) : chosen;
  }

  // True for experts that stand for the anchor's FFN.
  std::vector<bool> Aliases() const {
    std::vector<bool> aliases;
    for (const auto& expert : weights_.experts) {
      aliases.push_back(!expert.has_value());
    }
    return aliases;
  }

  // The weight of the anchor's FFN per token [T], given weights and which of
  // them belong to it.
  static Tensor Sum(const Tensor& weights, const Tensor& belongs) {
    return (weights * belongs.to(weights.scalar_type())).sum(-1);
  }

  // Every expert on every token: what a top-k of all experts asks for.
  Tensor RunAll(const Tensor& weights_TE) const {
    Tensor anchor;
    std::vector<std::pair<int64_t, Tensor>> parts;  // expert, weights [T]
    for (int64_t e = 0; e < weights_TE.size(1); ++e) {
      const Tensor weight = weights_TE.select(1, e);
      if (weights_.experts[e].has_value()) {
        parts.emplace_back(e, weight);
      } else {
        anchor = anchor.defined() ? anchor + weight : weight;
      }
    }
    Tensor y;
    if (anchor.defined()) {
      y = AddScaled(y, RunFfn(weights_.ffn, x_TD_, 0), anchor);
    }
    for (const auto& [e, weight] : parts) {
      y = AddScaled(y, RunFfn(*weights_.experts[e], x_TD_, e), weight);
    }
    return y;
  }

  // y + out * weight, in place when nothing needs gradients.
  static Tensor AddScaled(const Tensor& y, Tensor out, const Tensor& weight) {
    const Tensor column = weight.unsqueeze(1).to(out.scalar_type());
    const bool gradients = at::GradMode::is_enabled() &&
                           (out.requires_grad() || column.requires_grad() ||
                            (y.defined() && y.requires_grad()));
    if (gradients) {
      return y.defined() ? at::addcmul(y, out, column) : out * column;
    }
    if (!y.defined()) {
      return out.mul_(column);
    }
    Tensor sum = y;
    return sum.addcmul_(out, column);
  }

  // Only the chosen experts, each on its own tokens.
  Tensor RunChosen(const Tensor& ids_TK, const Tensor& weights_TK) const {
    const std::vector<bool> aliases = Aliases();
    const kernels::Dispatch dispatch = kernels::SortByExpert(ids_TK, aliases);
    Tensor y = at::zeros_like(x_TD_);
    if (dispatch.merged_tokens.numel() > 0) {
      Tensor is_alias = at::zeros({static_cast<int64_t>(aliases.size())},
                                  ids_TK.options().dtype(at::kBool));
      for (size_t e = 0; e < aliases.size(); ++e) {
        if (aliases[e]) {
          is_alias[static_cast<int64_t>(e)] = true;
        }
      }
      const Tensor weight_T = Sum(weights_TK, is_alias.index({ids_TK}));
      y = AddExpert(y, weights_.ffn, 0, dispatch.merged_tokens, weight_T,
                    dispatch.merged_tokens);
    }
    for (const kernels::ExpertTokens& group : dispatch.experts) {
      y = AddExpert(y, *weights_.experts[group.expert], group.expert,
                    group.tokens, weights_TK.flatten(), group.slots);
    }
    return y;
  }

  // y with the expert's outputs for `tokens` added, weighted by
  // weights[positions].
  Tensor AddExpert(const Tensor& y, const Ffn& ffn, int64_t expert,
                   const Tensor& tokens, const Tensor& weights,
                   const Tensor& positions) const {
    const bool all = tokens.numel() == x_TD_.size(0);
    const Tensor out =
        RunFfn(ffn, all ? x_TD_ : x_TD_.index_select(0, tokens), expert);
    return kernels::AddWeightedRows(y, tokens, out,
                                    weights.index_select(0, positions));
  }

  Tensor RunFfn(const Ffn& ffn, const Tensor& x, int64_t expert) const {
    Tensor a = Project(x, ffn.gate_FD);
    if (NeedsGradient(ffn, x)) {
      a = at::silu(a) * Project(x, ffn.up_FD);
    } else {
      at::silu_(a);
      a.mul_(Project(x, ffn.up_FD));
    }
    if (hooks_ != nullptr && hooks_->down_input) {
      hooks_->down_input(layer_, expert, a);
    }
    return Project(a, ffn.down_DF);
  }

  const CausalLm& lm_;
  const int64_t layer_;
  const DecoderLayer& weights_;
  const Tensor& x_TD_;
  const Hooks* hooks_;
};

}  // namespace

Tensor RunFeedforward(const CausalLm& lm, int64_t layer, const Tensor& x_TD,
                      const Hooks* hooks) {
  if (hooks != nullptr && hooks->moe_input) {
    hooks->moe_input(layer, x_TD);
  }
  return Feedforward(lm, layer, x_TD, hooks).Run();
}

}  // namespace tributary::model
