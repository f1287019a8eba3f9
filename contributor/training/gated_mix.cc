#include "contributor/training/gated_mix.h"

#include <torch/torch.h>

#include "common/kernels/parallel.h"
#include "contributor/training/gated_loops.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

Tensor Float(const Tensor& weight) { return weight.to(at::kFloat); }

// The engine takes no undefined inputs: an empty tensor stands for none.
Tensor OrEmpty(const Tensor& tensor, const Tensor& like) {
  return tensor.defined() ? tensor : at::empty({0}, like.options());
}
bool IsGiven(const Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0;
}

const float* DataOrNull(const Tensor& weight_T) {
  return IsGiven(weight_T) ? weight_T.const_data_ptr<float>() : nullptr;
}

struct Activations {
  Tensor gate_TF;
  Tensor up_TF;
};

// silu(gate) * up * weight.
Tensor DownInput(const Activations& a, const Tensor& weight_T) {
  Tensor out = at::empty_like(a.gate_TF);
  const int64_t width = out.size(1);
  const float* gate = a.gate_TF.const_data_ptr<float>();
  const float* up = a.up_TF.const_data_ptr<float>();
  const float* weight = DataOrNull(weight_T);
  float* to = out.mutable_data_ptr<float>();
  kernels::ParallelFor(
      0, out.size(0), kernels::GrainOf(width), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          GatedRow(gate + t * width, up + t * width,
                   weight != nullptr ? weight[t] : 1.0f, width, to + t * width);
        }
      });
  return out;
}

// Adds a part's output to y (or makes it) and returns what its backward needs.
Activations AddPart(const Tensor& x, const Tensor& gate, const Tensor& up,
                    const Tensor& down, const Tensor& weight, Tensor* y) {
  Activations a = {at::mm(x, Float(gate).t()), at::mm(x, Float(up).t())};
  const Tensor input = DownInput(a, weight);
  const Tensor matrix = Float(down).t();
  if (y->defined()) {
    y->addmm_(input, matrix);
  } else {
    *y = at::mm(input, matrix);
  }
  return a;
}

struct PartGradients {
  Tensor weight_T;
  Tensor gate_FD, up_FD, down_DF;
};

// Which gradients somebody waits for.
struct Wanted {
  bool x = false, weight = false, gate = false, up = false, down = false;

  bool any() const { return x || weight || gate || up || down; }
};

PartGradients PartBackward(const Tensor& x, const Tensor& gate_FD,
                           const Tensor& up_FD, const Tensor& down_DF,
                           const Tensor& weight_T, const Tensor& gradient_TD,
                           Tensor gate_TF, Tensor up_TF, const Wanted& wanted,
                           Tensor* x_gradient) {
  Tensor middle = at::mm(gradient_TD, Float(down_DF));  // becomes the input
  const int64_t width = middle.size(1);
  PartGradients out;
  if (wanted.weight) {
    out.weight_T = at::empty({middle.size(0)}, middle.options());
  }
  const float* weight = DataOrNull(weight_T);
  float* gate = gate_TF.mutable_data_ptr<float>();
  float* up = up_TF.mutable_data_ptr<float>();
  float* data = middle.mutable_data_ptr<float>();
  float* weight_gradient =
      wanted.weight ? out.weight_T.mutable_data_ptr<float>() : nullptr;
  kernels::ParallelFor(0, middle.size(0), kernels::GrainOf(width),
                       [&](int64_t begin, int64_t end) {
                         for (int64_t t = begin; t < end; ++t) {
                           const double sum = GatedBackwardRow(
                               gate + t * width, up + t * width,
                               weight != nullptr ? weight[t] : 1.0f, width,
                               data + t * width);
                           if (weight_gradient != nullptr) {
                             weight_gradient[t] = static_cast<float>(sum);
                           }
                         }
                       });
  if (wanted.down) {
    out.down_DF = at::mm(gradient_TD.t(), middle);
  }
  if (wanted.gate) {
    out.gate_FD = at::mm(gate_TF.t(), x);
  }
  if (wanted.up) {
    out.up_FD = at::mm(up_TF.t(), x);
  }
  if (wanted.x) {
    if (x_gradient->defined()) {
      x_gradient->addmm_(gate_TF, Float(gate_FD));
    } else {
      *x_gradient = at::mm(gate_TF, Float(gate_FD));
    }
    x_gradient->addmm_(up_TF, Float(up_FD));
  }
  return out;
}

// Inputs: x, then weight, gate, up and down of each part; those of the second
// are empty when there is one. Saved behind them: activations of each.
constexpr int kInputs = 9;

class Function : public torch::autograd::Function<Function> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context,
                        const Tensor& x, const Tensor& weight0,
                        const Tensor& gate0, const Tensor& up0,
                        const Tensor& down0, const Tensor& weight1,
                        const Tensor& gate1, const Tensor& up1,
                        const Tensor& down1) {
    Tensor y;
    Activations first = AddPart(x, gate0, up0, down0, weight0, &y);
    Activations second;
    if (IsGiven(gate1)) {
      second = AddPart(x, gate1, up1, down1, weight1, &y);
    }
    // Nobody waits for a gradient of the first part in the first layer.
    bool needed = false;
    for (const Tensor& input : {x, weight0, gate0, up0, down0}) {
      needed = needed || input.requires_grad();
    }
    if (!needed) {
      first = {};
    }
    context->save_for_backward({x, weight0, gate0, up0, down0, weight1, gate1,
                                up1, down1, first.gate_TF, first.up_TF,
                                second.gate_TF, second.up_TF});
    return y;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor gradient = gradients[0].contiguous();
    torch::autograd::variable_list out(kInputs);
    for (const int part : {1, 0}) {
      const int at = 1 + 4 * part;
      if (!IsGiven(saved[at + 1])) {
        continue;
      }
      const auto wants = [&](int input) {
        return IsGiven(saved[input]) && context->needs_input_grad(input);
      };
      const Wanted wanted = {.x = wants(0),
                             .weight = wants(at),
                             .gate = wants(at + 1),
                             .up = wants(at + 2),
                             .down = wants(at + 3)};
      if (!wanted.any()) {
        continue;
      }
      PartGradients g =
          PartBackward(saved[0], saved[at + 1], saved[at + 2], saved[at + 3],
                       saved[at], gradient, saved[kInputs + 2 * part],
                       saved[kInputs + 2 * part + 1], wanted, out.data());
      out[at] = g.weight_T;
      out[at + 1] = g.gate_FD;
      out[at + 2] = g.up_FD;
      out[at + 3] = g.down_DF;
    }
    return out;
  }
};

bool HasFastPath(const Tensor& x, const std::vector<GatedPart>& parts) {
  bool fast = x.device().is_cpu() && x.scalar_type() == at::kFloat;
  for (const GatedPart& part : parts) {
    fast = fast && (!part.weight_T.defined() ||
                    part.weight_T.scalar_type() == at::kFloat);
  }
  return fast;
}

Tensor Generic(const Tensor& x, const std::vector<GatedPart>& parts) {
  Tensor y;
  for (const GatedPart& part : parts) {
    const auto type = x.scalar_type();
    Tensor a = at::silu(at::linear(x, part.ffn.gate_FD.to(type))) *
               at::linear(x, part.ffn.up_FD.to(type));
    if (part.weight_T.defined()) {
      a = a * part.weight_T.unsqueeze(1).to(type);
    }
    const Tensor out = at::linear(a, part.ffn.down_DF.to(type));
    y = y.defined() ? y + out : out;
  }
  return y;
}

}  // namespace

Tensor GatedMix(const Tensor& x_TD, const std::vector<GatedPart>& parts) {
  TORCH_CHECK(x_TD.dim() == 2 && !parts.empty() && parts.size() <= 2, "got ",
              parts.size(), " parts for states ", x_TD.sizes());
  if (!HasFastPath(x_TD, parts)) {
    return Generic(x_TD, parts);
  }
  const Tensor x = x_TD.contiguous();
  const auto weight = [](const GatedPart& part) {
    return part.weight_T.defined() ? part.weight_T.contiguous() : Tensor();
  };
  if (!at::GradMode::is_enabled()) {
    Tensor y;
    for (const GatedPart& part : parts) {
      AddPart(x, part.ffn.gate_FD, part.ffn.up_FD, part.ffn.down_DF,
              weight(part), &y);
    }
    return y;
  }
  torch::autograd::variable_list inputs;
  for (size_t p = 0; p < 2; ++p) {
    const GatedPart part = p < parts.size() ? parts[p] : GatedPart();
    for (const Tensor& input :
         {weight(part), part.ffn.gate_FD, part.ffn.up_FD, part.ffn.down_DF}) {
      inputs.push_back(OrEmpty(input, x));
    }
  }
  return Function::apply(x, inputs[0], inputs[1], inputs[2], inputs[3],
                         inputs[4], inputs[5], inputs[6], inputs[7]);
}

}  // namespace tributary::contributor
