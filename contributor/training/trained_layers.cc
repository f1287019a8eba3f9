#include "contributor/training/trained_layers.h"

#include <torch/torch.h>

#include <memory>
#include <optional>

#include "common/model/attention.h"
#include "contributor/training/gated_mix.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

// What all layers of a pass share; kept alive by recomputing nodes.
struct Pass {
  const model::CausalLm* lm = nullptr;
  kernels::RopeTable table;
  std::optional<model::DocumentLengths> documents;
  TrainedPassOptions options;
};

struct LayerOutput {
  Tensor x;
  Tensor z_loss;  // undefined without a trained row
};

model::Ffn Prefix(const model::Ffn& ffn, int64_t width) {
  if (width <= 0 || width >= ffn.width()) {
    return ffn;
  }
  return {.gate_FD = ffn.gate_FD.narrow(0, 0, width),
          .up_FD = ffn.up_FD.narrow(0, 0, width),
          .down_DF = ffn.down_DF.narrow(1, 0, width)};
}

// The router's logits [T, 2].
Tensor RouterLogits(const model::DecoderLayer& layer, const TrainedRow& row,
                    const Tensor& x_TD) {
  const Tensor x = x_TD.to(at::kFloat);
  if (!row.row_D.defined()) {
    return layer.router_bias_E.defined()
               ? at::linear(x, layer.router_ED, layer.router_bias_E)
               : at::linear(x, layer.router_ED);
  }
  const Tensor matrix =
      at::cat({layer.router_ED.narrow(0, 0, 1), row.row_D.unsqueeze(0)});
  if (!row.bias_1.defined()) {
    return at::linear(x, matrix);
  }
  const Tensor bias = at::cat({layer.router_bias_E.defined()
                                   ? layer.router_bias_E.narrow(0, 0, 1)
                                   : at::zeros_like(row.bias_1),
                               row.bias_1});
  return at::linear(x, matrix, bias);
}

Tensor Feedforward(const Pass& pass, int64_t index, const Tensor& x_TD,
                   Tensor* z_loss) {
  const model::CausalLm& lm = *pass.lm;
  const model::DecoderLayer& layer = lm.layers[index];
  if (!layer.routes()) {
    return GatedMix(x_TD, {{.ffn = layer.ffn}});
  }
  TORCH_CHECK(layer.experts.size() == 2 && !layer.experts[0].has_value(),
              "layer ", index, " has ", layer.experts.size(),
              " experts, wanted the public one and the one to train");
  const TrainedRow row =
      pass.options.rows.empty() ? TrainedRow() : pass.options.rows[index];
  const Tensor logits = RouterLogits(layer, row, x_TD);
  if (row.row_D.defined()) {
    *z_loss = at::logsumexp(logits, {1}).square().mean();
  }
  Tensor p_TE = at::softmax(logits, -1);
  if (lm.renormalise) {
    p_TE = p_TE / p_TE.sum(-1, /*keepdim=*/true);
  }
  return GatedMix(x_TD,
                  {{.ffn = layer.ffn, .weight_T = p_TE.select(1, 0)},
                   {.ffn = Prefix(*layer.experts[1], pass.options.prefix_width),
                    .weight_T = p_TE.select(1, 1)}});
}

LayerOutput RunLayer(const Pass& pass, int64_t index, const Tensor& x_BSD) {
  const model::CausalLm& lm = *pass.lm;
  const model::DecoderLayer& layer = lm.layers[index];
  TORCH_CHECK(layer.loaded(), "layer ", index, " was not loaded");
  const auto* documents = pass.documents ? &*pass.documents : nullptr;
  LayerOutput out;
  const auto feedforward = [&](const Tensor& input) {
    return Feedforward(pass, index, input.flatten(0, 1), &out.z_loss)
        .view(input.sizes());
  };
  const auto attend = [&](const Tensor& input) {
    return model::Attend(lm, index, input, pass.table, nullptr, documents);
  };
  if (lm.config.block == model_format::BlockForm::kPostNorm) {
    const Tensor h = x_BSD + model::Norm(lm.config, attend(x_BSD),
                                         layer.post_attention_norm_D);
    out.x = h + model::Norm(lm.config, feedforward(h),
                            layer.post_feedforward_norm_D);
  } else {
    const Tensor h =
        x_BSD + attend(model::Norm(lm.config, x_BSD, layer.input_norm_D));
    out.x =
        h + feedforward(model::Norm(lm.config, h, layer.post_attention_norm_D));
  }
  return out;
}

// Every leaf that a layer's computation may send gradients to.
std::vector<Tensor> Leaves(const Pass& pass, int64_t index) {
  const model::DecoderLayer& layer = pass.lm->layers[index];
  std::vector<Tensor> leaves;
  const auto add = [&](const Tensor& tensor) {
    if (tensor.defined() && tensor.requires_grad()) {
      leaves.push_back(tensor);
    }
  };
  if (!layer.experts.empty() && layer.experts.back().has_value()) {
    const model::Ffn& ffn = *layer.experts.back();
    add(ffn.gate_FD);
    add(ffn.up_FD);
    add(ffn.down_DF);
  }
  if (!pass.options.rows.empty()) {
    add(pass.options.rows[index].row_D);
    add(pass.options.rows[index].bias_1);
  }
  return leaves;
}

// A layer whose inside is computed again in the backward pass, where its
// leaves get their gradients. `mark` is any leaf: it tells the engine that the
// output needs gradients.
class RecomputedLayer : public torch::autograd::Function<RecomputedLayer> {
 public:
  static torch::autograd::variable_list forward(
      torch::autograd::AutogradContext* context, const Tensor& x,
      const Tensor& mark, std::shared_ptr<const Pass> pass, int64_t index) {
    const LayerOutput out = RunLayer(*pass, index, x);
    context->save_for_backward({x});
    context->saved_data["x"] = x.requires_grad();
    context->saved_data["index"] = index;
    context->saved_data["pass"] =
        c10::IValue::make_capsule(c10::make_intrusive<Holder>(pass));
    return {out.x, out.z_loss.defined() ? out.z_loss : x.new_zeros({})};
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const auto holder = context->saved_data["pass"].toCapsule();
    const Pass& pass = *static_cast<Holder&>(*holder).pass;
    const bool needs_x = context->needs_input_grad(0);
    const Tensor x =
        context->get_saved_variables()[0].detach().requires_grad_(needs_x);
    const at::AutoGradMode grad(true);
    const LayerOutput out =
        RunLayer(pass, context->saved_data["index"].toInt(), x);
    std::vector<Tensor> outputs = {out.x};
    std::vector<Tensor> output_gradients = {gradients[0]};
    if (out.z_loss.defined() && gradients[1].defined()) {
      outputs.push_back(out.z_loss);
      output_gradients.push_back(gradients[1]);
    }
    torch::autograd::backward(outputs, output_gradients);
    return {needs_x ? x.grad() : Tensor(), Tensor(), Tensor(), Tensor()};
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<const Pass> p) : pass(std::move(p)) {}
    std::shared_ptr<const Pass> pass;
  };
};

LayerOutput RunRecomputed(const std::shared_ptr<const Pass>& pass,
                          int64_t index, const Tensor& x) {
  const std::vector<Tensor> leaves = Leaves(*pass, index);
  if (!at::GradMode::is_enabled() || (!x.requires_grad() && leaves.empty())) {
    return RunLayer(*pass, index, x);
  }
  const auto out =
      RecomputedLayer::apply(x, leaves.empty() ? x : leaves[0], pass, index);
  const bool trained_row =
      !pass->options.rows.empty() && pass->options.rows[index].row_D.defined();
  return {out[0], trained_row ? out[1] : Tensor()};
}

}  // namespace

TrainedPass RunTrainedLayers(const model::CausalLm& lm, const Tensor& x_BSD,
                             int64_t first_layer,
                             const TrainedPassOptions& options) {
  TORCH_CHECK(x_BSD.dim() == 3 && x_BSD.size(2) == lm.config.hidden_size,
              "states have shape ", x_BSD.sizes(), ", wanted [B, S, ",
              lm.config.hidden_size, "]");
  TORCH_CHECK(options.rows.empty() ||
                  static_cast<int64_t>(options.rows.size()) == lm.num_layers(),
              "got ", options.rows.size(), " rows for ", lm.num_layers(),
              " layers");
  auto pass = std::make_shared<Pass>();
  pass->lm = &lm;
  pass->table = kernels::MakeRopeTable(lm.rope_frequencies, 0, x_BSD.size(1));
  pass->options = options;
  if (options.documents_BS.defined()) {
    pass->documents = model::LengthsOfDocuments(options.documents_BS);
  }
  TrainedPass result = {.x_BSD = x_BSD};
  for (int64_t l = first_layer; l < lm.num_layers(); ++l) {
    const LayerOutput out = options.recompute_activations
                                ? RunRecomputed(pass, l, result.x_BSD)
                                : RunLayer(*pass, l, result.x_BSD);
    result.x_BSD = out.x;
    if (out.z_loss.defined()) {
      result.z_loss =
          result.z_loss.defined() ? result.z_loss + out.z_loss : out.z_loss;
    }
  }
  return result;
}

}  // namespace tributary::contributor
