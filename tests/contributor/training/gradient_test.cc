// Gradients of every trained matrix against a plain model in fp64.

#include <gtest/gtest.h>

#include <cmath>

#include "contributor/training/trunk_windows.h"
#include "tests/contributor/training/tiny_run.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

Tensor Double(const Tensor& x) { return x.detach().to(at::kDouble); }

Tensor PlainNorm(const Tensor& x, const Tensor& weight, double epsilon) {
  return x / (x.square().mean(-1, true) + epsilon).sqrt() * Double(weight);
}

Tensor PlainFfn(const Tensor& x, const Tensor& gate, const Tensor& up,
                const Tensor& down) {
  const Tensor g = at::matmul(x, gate.t());
  return at::matmul(g * at::sigmoid(g) * at::matmul(x, up.t()), down.t());
}

Tensor PlainRope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const Tensor first = x.narrow(-1, 0, half);
  const Tensor second = x.narrow(-1, half, half);
  return at::cat({first * cos - second * sin, second * cos + first * sin}, -1);
}

// One layer of a Llama with an expert beside its FFN, from the definition.
Tensor PlainLayer(const model::CausalLm& lm, int64_t l, const Tensor& x,
                  const std::vector<Tensor>& expert) {
  const auto& c = lm.config;
  const auto& layer = lm.layers[l];
  const int64_t length = x.size(1);
  Tensor positions = at::arange(length, at::kDouble);
  Tensor frequency =
      at::pow(c.rope.theta, at::arange(0, c.head_dim, 2, at::kDouble) /
                                -static_cast<double>(c.head_dim));
  const Tensor angle = at::outer(positions, frequency);
  const Tensor n = PlainNorm(x, layer.input_norm_D, c.rms_norm_eps);
  const auto heads = [&](const Tensor& weight, int64_t count) {
    return at::matmul(n, Double(weight).t())
        .view({x.size(0), length, count, c.head_dim})
        .transpose(1, 2);
  };
  const int64_t group = c.num_heads / c.num_kv_heads;
  const Tensor q =
      PlainRope(heads(layer.q_proj_HD, c.num_heads), angle.cos(), angle.sin());
  const Tensor k = PlainRope(heads(layer.k_proj_HD, c.num_kv_heads),
                             angle.cos(), angle.sin())
                       .repeat_interleave(group, 1);
  const Tensor v =
      heads(layer.v_proj_HD, c.num_kv_heads).repeat_interleave(group, 1);
  const Tensor mask = at::full({length, length}, -1e300, at::kDouble).triu(1);
  const Tensor attention = at::matmul(
      at::softmax(
          at::matmul(q, k.transpose(2, 3)) / std::sqrt(c.head_dim) + mask, -1),
      v);
  const Tensor h =
      x + at::matmul(attention.transpose(1, 2).reshape(
                         {x.size(0), length, c.num_heads * c.head_dim}),
                     Double(layer.o_proj_DH).t());
  const Tensor y = PlainNorm(h, layer.post_attention_norm_D, c.rms_norm_eps);
  const Tensor share =
      at::softmax(at::matmul(y, Double(layer.router_ED).t()), -1);
  return h +
         share.select(-1, 0).unsqueeze(-1) *
             PlainFfn(y, Double(layer.ffn.gate_FD), Double(layer.ffn.up_FD),
                      Double(layer.ffn.down_DF)) +
         share.select(-1, 1).unsqueeze(-1) *
             PlainFfn(y, expert[0], expert[1], expert[2]);
}

class GradientTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(GradientTest, AgreesWithPlainAutogradInDouble) {
  const TinyRun run;
  model::CausalLm lm = run.anchor();
  InitialExpertOptions initial = run.Initial(GetParam());
  initial.widths = {0, 0, GetParam(), 128};  // unequal widths
  auto expert = MakeInitialExpert(lm, initial);
  ASSERT_TRUE(expert.ok()) << expert.status();
  ASSERT_TRUE(model::AttachExpert(lm, *std::move(expert)).ok());
  const auto data = LoadTrunkWindows(run.Files(), "train", lm);
  ASSERT_TRUE(data.ok()) << data.status();
  const WindowBatch batch = TakeBatch(*data, {3, 1}, at::kCPU);

  std::vector<Tensor> trained;
  for (const int l : {2, 3}) {
    auto& ffn = *lm.layers[l].experts.back();
    for (Tensor* tensor : {&ffn.gate_FD, &ffn.up_FD, &ffn.down_DF}) {
      tensor->set_requires_grad(true);
      trained.push_back(*tensor);
    }
  }
  const Tensor loss =
      model::TokenLogLoss(lm, HiddenOfBatch(lm, 2, batch), batch.targets_T)
          .mean();
  loss.backward();

  std::vector<Tensor> plain;
  for (const Tensor& tensor : trained) {
    plain.push_back(Double(tensor).clone().requires_grad_());
  }
  Tensor x = Double(batch.trunk_BSD);
  for (const int l : {2, 3}) {
    x = PlainLayer(lm, l, x,
                   {plain.begin() + 3 * (l - 2), plain.begin() + 3 * (l - 1)});
  }
  const Tensor hidden = PlainNorm(x, lm.final_norm_D, lm.config.rms_norm_eps)
                            .narrow(1, 0, x.size(1) - 1)
                            .reshape({-1, x.size(2)});
  const Tensor plain_loss = at::cross_entropy_loss(
      at::matmul(hidden, Double(lm.head_VD).t()), batch.targets_T);
  plain_loss.backward();

  EXPECT_NEAR(loss.item<double>(), plain_loss.item<double>(), 1e-5);
  for (size_t i = 0; i < trained.size(); ++i) {
    const Tensor wanted = plain[i].grad();
    const double error =
        ((Double(trained[i].grad()) - wanted).norm() / wanted.norm())
            .item<double>();
    EXPECT_LT(error, 2e-5) << "matrix " << i;
  }
  // Nothing else has a gradient.
  EXPECT_FALSE(lm.head_VD.grad().defined());
  EXPECT_FALSE(lm.layers[3].ffn.gate_FD.grad().defined());
  EXPECT_FALSE(lm.layers[3].q_proj_HD.grad().defined());
  EXPECT_FALSE(lm.layers[3].router_ED.grad().defined());
}

INSTANTIATE_TEST_SUITE_P(Widths, GradientTest, ::testing::Values(384, 256));

}  // namespace
}  // namespace tributary::contributor
