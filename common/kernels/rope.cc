#include "common/kernels/rope.h"

#include <torch/torch.h>

#include <cmath>

#include "common/kernels/parallel.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

using at::Tensor;

bool HasFastPath(const Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat &&
         x.stride(-1) == 1;
}

Tensor Generic(const Tensor& x, int64_t heads, const RopeTable& table) {
  const int64_t half = table.cos.size(1);
  const Tensor split =
      x.view({x.size(0), x.size(1), heads, 2 * half}).transpose(1, 2);
  const Tensor first = split.narrow(-1, 0, half);
  const Tensor second = split.narrow(-1, half, half);
  const Tensor cos = table.cos.to(x.options());
  const Tensor sin = table.sin.to(x.options());
  return at::cat({first * cos - second * sin, second * cos + first * sin}, -1);
}

// [B, S, heads * C] to [B, heads, S, C].
Tensor Forward(const Tensor& x, int64_t heads, const RopeTable& table) {
  const int64_t batch = x.size(0);
  const int64_t length = x.size(1);
  const int64_t half = table.cos.size(1);
  const int64_t width = 2 * half;
  Tensor out = at::empty({batch, heads, length, width}, x.options());
  const float* from = x.const_data_ptr<float>();
  const float* cos = table.cos.const_data_ptr<float>();
  const float* sin = table.sin.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const int64_t batch_stride = x.stride(0);
  const int64_t row_stride = x.stride(1);
  ParallelFor(0, batch * length, GrainOf(heads * width),
              [&](int64_t begin, int64_t end) {
                for (int64_t token = begin; token < end; ++token) {
                  const int64_t b = token / length;
                  const int64_t s = token % length;
                  const float* row = from + b * batch_stride + s * row_stride;
                  for (int64_t head = 0; head < heads; ++head) {
                    RotateRow(row + head * width, cos + s * half,
                              sin + s * half, half,
                              to + ((b * heads + head) * length + s) * width);
                  }
                }
              });
  return out;
}

// The inverse rotation, [B, heads, S, C] to [B, S, heads * C].
Tensor Backward(const Tensor& gradient, const Tensor& cos_table,
                const Tensor& negative_sin_table) {
  const Tensor grad = gradient.contiguous();
  const int64_t batch = grad.size(0);
  const int64_t heads = grad.size(1);
  const int64_t length = grad.size(2);
  const int64_t width = grad.size(3);
  const int64_t half = width / 2;
  Tensor out = at::empty({batch, length, heads * width}, grad.options());
  const float* from = grad.const_data_ptr<float>();
  const float* cos = cos_table.const_data_ptr<float>();
  const float* sin = negative_sin_table.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  ParallelFor(0, batch * length, GrainOf(heads * width),
              [&](int64_t begin, int64_t end) {
                for (int64_t token = begin; token < end; ++token) {
                  const int64_t b = token / length;
                  const int64_t s = token % length;
                  for (int64_t head = 0; head < heads; ++head) {
                    RotateRow(from + ((b * heads + head) * length + s) * width,
                              cos + s * half, sin + s * half, half,
                              to + token * heads * width + head * width);
                  }
                }
              });
  return out;
}

class Function : public torch::autograd::Function<Function> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context,
                        const Tensor& x, int64_t heads, const Tensor& cos,
                        const Tensor& sin) {
    context->save_for_backward({cos, sin});
    return Forward(x, heads, {cos, sin});
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {Backward(gradients[0], saved[0], saved[1].neg()), Tensor(),
            Tensor(), Tensor()};
  }
};

}  // namespace

RopeTable MakeRopeTable(const Tensor& frequencies, int64_t start,
                        int64_t length) {
  const Tensor on_host = frequencies.to(at::kCPU, at::kFloat).contiguous();
  const int64_t half = on_host.numel();
  const float* frequency = on_host.const_data_ptr<float>();
  Tensor cos = at::empty({length, half}, on_host.options());
  Tensor sin = at::empty({length, half}, on_host.options());
  float* cos_data = cos.mutable_data_ptr<float>();
  float* sin_data = sin.mutable_data_ptr<float>();
  ParallelFor(0, length, GrainOf(32 * half), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(start + s) * frequency[i];
        cos_data[s * half + i] = std::cos(angle);
        sin_data[s * half + i] = std::sin(angle);
      }
    }
  });
  return {cos.to(frequencies.device()), sin.to(frequencies.device())};
}

Tensor ApplyRope(const Tensor& x, int64_t heads, const RopeTable& table) {
  if (!HasFastPath(x)) {
    return Generic(x, heads, table);
  }
  if (at::GradMode::is_enabled() && x.requires_grad()) {
    return Function::apply(x, heads, table.cos, table.sin);
  }
  return Forward(x, heads, table);
}

}  // namespace tributary::kernels
