#include "common/kernels/frozen_linear.h"

#include <torch/torch.h>

namespace tributary::kernels {
namespace {

using at::Tensor;

class Function : public torch::autograd::Function<Function> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context,
                        const Tensor& x, const Tensor& weight) {
    context->save_for_backward({weight});
    return at::linear(x, weight.to(x.scalar_type()));
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const Tensor weight = context->get_saved_variables()[0];
    return {at::matmul(gradients[0], weight.to(gradients[0].scalar_type())),
            Tensor()};
  }
};

}  // namespace

Tensor FrozenLinear(const Tensor& x, const Tensor& weight_FD) {
  if (at::GradMode::is_enabled() && x.requires_grad()) {
    return Function::apply(x, weight_FD);
  }
  return at::linear(x, weight_FD.to(x.scalar_type()));
}

}  // namespace tributary::kernels
