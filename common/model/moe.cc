#include "common/model/moe.h"

#include "ATen/core/grad_mode.h"
#include "common/kernels/dispatch.h"
#include "common/kernels/products.h"
#include "common/kernels/scratch.h"
#include "common/model/attention.h"

namespace tributary::model {
namespace {

using kernels::Scratch;
using kernels::ScratchTensor;

bool RequiresGradient(const Ffn& ffn) {
  return ffn.gate_FD.requires_grad() || ffn.up_FD.requires_grad() ||
         ffn.down_DF.requires_grad();
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
        hooks_(hooks),
        gradients_(RecordsGradients()) {}

  Tensor Run() const {
    if (!weights_.routes()) {
      return RunFfn(weights_.ffn, x_TD_, 0);
    }
    const bool watched = hooks_ != nullptr && hooks_->routing;
    const auto experts = static_cast<int64_t>(weights_.experts.size());
    const bool all = lm_.top_k >= experts;
    const Routing routing =
        Route(lm_, layer_, x_TD_, /*probabilities=*/watched);
    if (watched) {
      hooks_->routing(layer_, routing.p_TE, routing.ids_TK, routing.weights_TK);
    }
    return all ? RunAll(routing.weights_TK) : RunChosen(routing);
  }

 private:
  bool RecordsGradients() const {
    if (!at::GradMode::is_enabled()) {
      return false;
    }
    bool any =
        x_TD_.requires_grad() ||
        (weights_.router_ED.defined() && weights_.router_ED.requires_grad()) ||
        (weights_.router_bias_E.defined() &&
         weights_.router_bias_E.requires_grad()) ||
        (weights_.ffn.gate_FD.defined() && RequiresGradient(weights_.ffn));
    for (const auto& expert : weights_.experts) {
      any = any || (expert.has_value() && RequiresGradient(*expert));
    }
    return any;
  }

  // The FFN of an expert, or the anchor's where it stands for that.
  const Ffn& FfnOf(int64_t expert) const {
    return expert >= 0 && weights_.experts[expert].has_value()
               ? *weights_.experts[expert]
               : weights_.ffn;
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
      y = AddScaled(y, weights_.ffn, 0, anchor);
    }
    for (const auto& [e, weight] : parts) {
      y = AddScaled(y, *weights_.experts[e], e, weight);
    }
    return y;
  }

  // y + FFN(x) * weight, in place when nothing needs gradients.
  Tensor AddScaled(const Tensor& y, const Ffn& ffn, int64_t expert,
                   const Tensor& weight) const {
    const Tensor column = weight.unsqueeze(1).to(x_TD_.scalar_type());
    if (gradients_) {
      const Tensor out = RunFfn(ffn, x_TD_, expert);
      return y.defined() ? at::addcmul(y, out, column) : out * column;
    }
    if (!y.defined()) {
      return RunFfn(ffn, x_TD_, expert).mul_(column);
    }
    Tensor out =
        ScratchTensor(Scratch::kExpertOutputs, x_TD_.sizes(), x_TD_.options());
    RunFfnInto(out, ffn, x_TD_, expert);
    Tensor sum = y;
    return sum.addcmul_(out, column);
  }

  // Only the chosen experts, each on its own tokens.
  Tensor RunChosen(const Routing& routing) const {
    std::vector<bool> aliases;
    for (const auto& expert : weights_.experts) {
      aliases.push_back(!expert.has_value());
    }
    const kernels::Dispatch dispatch =
        kernels::SortByExpert(routing.ids_TK, aliases);
    const auto tokens_of = [&](const kernels::ExpertRows& rows) {
      return dispatch.tokens_N.narrow(0, rows.begin, rows.count);
    };
    Tensor out_ND;
    if (gradients_) {
      std::vector<Tensor> parts;
      for (const kernels::ExpertRows& rows : dispatch.experts) {
        parts.push_back(RunFfn(FfnOf(rows.expert),
                               x_TD_.index_select(0, tokens_of(rows)),
                               std::max<int64_t>(0, rows.expert)));
      }
      out_ND = parts.empty() ? at::zeros_like(x_TD_) : at::cat(parts);
    } else {
      out_ND = ScratchTensor(Scratch::kExpertOutputs,
                             {dispatch.tokens_N.numel(), x_TD_.size(1)},
                             x_TD_.options());
      for (const kernels::ExpertRows& rows : dispatch.experts) {
        Tensor out = out_ND.narrow(0, rows.begin, rows.count);
        RunFfnInto(out, FfnOf(rows.expert), Gather(tokens_of(rows)),
                   std::max<int64_t>(0, rows.expert));
      }
    }
    return kernels::CombineRows(out_ND, dispatch.rows_TK, routing.weights_TK);
  }

  // The rows of x for ascending, distinct tokens.
  Tensor Gather(const Tensor& tokens) const {
    if (tokens.numel() == x_TD_.size(0)) {
      return x_TD_;
    }
    Tensor rows =
        ScratchTensor(Scratch::kGatheredRows, {tokens.numel(), x_TD_.size(1)},
                      x_TD_.options());
    kernels::GatherRows(rows, x_TD_, tokens);
    return rows;
  }

  Tensor RunFfn(const Ffn& ffn, const Tensor& x, int64_t expert) const {
    if (!gradients_) {
      Tensor out = at::empty(x.sizes(), x.options());
      RunFfnInto(out, ffn, x, expert);
      return out;
    }
    const Tensor a = at::silu(Project(x, ffn.gate_FD)) * Project(x, ffn.up_FD);
    if (hooks_ != nullptr && hooks_->down_input) {
      hooks_->down_input(layer_, expert, a);
    }
    return Project(a, ffn.down_DF);
  }

  void RunFfnInto(Tensor& out, const Ffn& ffn, const Tensor& x,
                  int64_t expert) const {
    if (hooks_ == nullptr || !hooks_->down_input) {
      kernels::GatedMlpInto(out, x, ffn.gate_FD, ffn.up_FD, ffn.down_DF);
      return;
    }
    // A hook may keep what it is shown: memory of its own.
    const std::vector<int64_t> shape = {x.size(0), ffn.width()};
    Tensor up = ScratchTensor(Scratch::kUp, shape, x.options());
    kernels::LinearInto(up, x, ffn.up_FD);
    Tensor a = at::empty(shape, x.options());
    kernels::LinearInto(a, x, ffn.gate_FD);
    kernels::MultiplySilu(a, up);
    hooks_->down_input(layer_, expert, a);
    kernels::LinearInto(out, a, ffn.down_DF);
  }

  const CausalLm& lm_;
  const int64_t layer_;
  const DecoderLayer& weights_;
  const Tensor& x_TD_;
  const Hooks* hooks_;
  const bool gradients_;
};

}  // namespace

Routing Route(const CausalLm& lm, int64_t layer, const Tensor& x_TD,
              bool probabilities) {
  const DecoderLayer& weights = lm.layers[layer];
  const Tensor x = x_TD.to(at::kFloat);
  const Tensor logits =
      weights.router_bias_E.defined()
          ? at::linear(x, weights.router_ED, weights.router_bias_E)
          : at::linear(x, weights.router_ED);
  const int64_t k = std::min(lm.top_k, logits.size(1));
  const bool gradients = at::GradMode::is_enabled() && logits.requires_grad();
  const bool forced = lm.force_public && k < logits.size(1);
  if (!gradients && !forced) {
    const kernels::Choice choice =
        kernels::ChooseByLogits(logits, k, lm.renormalise);
    return {.p_TE = probabilities ? at::softmax(logits, -1) : Tensor(),
            .ids_TK = choice.ids_TK,
            .weights_TK = choice.weights_TK};
  }
  Routing routing;
  routing.p_TE = at::softmax(logits, -1);
  Tensor scores_TE = routing.p_TE;
  if (forced) {
    scores_TE = scores_TE.detach().clone();
    scores_TE.select(1, 0).fill_(2);  // above every probability
  }
  routing.ids_TK = kernels::ChooseExperts(scores_TE, k);
  const Tensor chosen = k == logits.size(1)
                            ? routing.p_TE
                            : routing.p_TE.gather(1, routing.ids_TK);
  routing.weights_TK =
      lm.renormalise ? chosen / chosen.sum(-1, /*keepdim=*/true) : chosen;
  return routing;
}

Tensor RunFeedforward(const CausalLm& lm, int64_t layer, const Tensor& x_TD,
                      const Hooks* hooks) {
  if (hooks != nullptr && hooks->moe_input) {
    hooks->moe_input(layer, x_TD);
  }
  return Feedforward(lm, layer, x_TD, hooks).Run();
}

}  // namespace tributary::model
