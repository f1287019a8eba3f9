#include "common/kernels/rms_norm.h"

#include <torch/torch.h>

#include <cmath>

#include "common/kernels/parallel.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

using at::Tensor;

bool HasFastPath(const Tensor& x, const Tensor& weight) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat &&
         weight.scalar_type() == at::kFloat && weight.is_contiguous() &&
         !(at::GradMode::is_enabled() && weight.requires_grad());
}

Tensor Generic(const Tensor& x, const Tensor& weight,
               const RmsNormOptions& options) {
  const Tensor wide = x.to(at::kFloat);
  const Tensor scaled =
      wide *
      at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + options.epsilon);
  if (options.weight == RmsNormOptions::Weight::kBeforeCast) {
    return (scaled * weight.to(at::kFloat)).to(x.scalar_type());
  }
  return scaled.to(x.scalar_type()) * weight.to(x.scalar_type());
}

Tensor Forward(const Tensor& x, const Tensor& weight, double epsilon,
               Tensor* inverse_rms) {
  const Tensor in = x.contiguous();
  const int64_t width = in.size(-1);
  const int64_t rows = in.numel() / std::max<int64_t>(width, 1);
  Tensor out = at::empty_like(in);
  float* scales = nullptr;
  if (inverse_rms != nullptr) {
    *inverse_rms = at::empty({rows}, in.options());
    scales = inverse_rms->mutable_data_ptr<float>();
  }
  const float* from = in.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  ParallelFor(0, rows, GrainOf(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x_row = from + row * width;
      const float mean = SumOfSquares(x_row, width) / static_cast<float>(width);
      const float scale = 1.0f / std::sqrt(mean + static_cast<float>(epsilon));
      ScaleRow(x_row, w, scale, width, to + row * width);
      if (scales != nullptr) {
        scales[row] = scale;
      }
    }
  });
  return out;
}

// y = x r w with r = (mean x^2 + eps)^-1/2, so
// dx = g w r - x r^3 (sum_i g_i w_i x_i) / D.
Tensor Backward(const Tensor& x, const Tensor& weight,
                const Tensor& inverse_rms, const Tensor& gradient) {
  const Tensor in = x.contiguous();
  const Tensor grad = gradient.contiguous();
  const int64_t width = in.size(-1);
  Tensor out = at::empty_like(in);
  const float* x_data = in.const_data_ptr<float>();
  const float* g_data = grad.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  const float* scales = inverse_rms.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  ParallelFor(
      0, inverse_rms.numel(), GrainOf(width), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t at = row * width;
          const float scale = scales[row];
          const float dot = SumOfProducts(g_data + at, w, x_data + at, width);
          const float shift =
              scale * scale * scale * dot / static_cast<float>(width);
          NormGradientRow(g_data + at, w, x_data + at, scale, shift, width,
                          to + at);
        }
      });
  return out;
}

class Function : public torch::autograd::Function<Function> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context,
                        const Tensor& x, const Tensor& weight, double epsilon) {
    Tensor inverse_rms;
    Tensor out = Forward(x, weight, epsilon, &inverse_rms);
    context->save_for_backward({x, weight, inverse_rms});
    return out;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {Backward(saved[0], saved[1], saved[2], gradients[0]), Tensor(),
            Tensor()};
  }
};

}  // namespace

Tensor RmsNorm(const Tensor& x, const Tensor& weight_D,
               const RmsNormOptions& options) {
  if (!HasFastPath(x, weight_D)) {
    return Generic(x, weight_D, options);
  }
  if (at::GradMode::is_enabled() && x.requires_grad()) {
    return Function::apply(x, weight_D, options.epsilon);
  }
  return Forward(x, weight_D, options.epsilon, nullptr);
}

}  // namespace tributary::kernels
