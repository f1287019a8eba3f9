// The fused pass of two gated MLPs against plain autograd in fp64.

#include "contributor/training/gated_mix.h"

#include <gtest/gtest.h>

#include <optional>

namespace tributary::contributor {
namespace {

using at::Tensor;

model::Ffn RandomFfn(int64_t hidden, int64_t width) {
  return {.gate_FD = at::randn({width, hidden}) * 0.3,
          .up_FD = at::randn({width, hidden}) * 0.3,
          .down_DF = at::randn({hidden, width}) * 0.3};
}

Tensor Plain(const Tensor& x, const std::vector<GatedPart>& parts) {
  Tensor y = at::zeros_like(x);
  for (const GatedPart& part : parts) {
    const Tensor g = at::matmul(x, part.ffn.gate_FD.t());
    const Tensor a = g * at::sigmoid(g) * at::matmul(x, part.ffn.up_FD.t());
    const Tensor out = at::matmul(a, part.ffn.down_DF.t());
    y = y + (part.weight_T.defined() ? out * part.weight_T.unsqueeze(1) : out);
  }
  return y;
}

struct Case {
  int64_t tokens, hidden, width0, width1;  // width1 0: one part
  bool weighted;
  bool all_trained;
};

class GatedMixTest : public ::testing::TestWithParam<Case> {};

TEST_P(GatedMixTest, ValueAndEveryGradientAgreeWithDouble) {
  const Case& c = GetParam();
  at::manual_seed(11);
  std::vector<GatedPart> parts = {{.ffn = RandomFfn(c.hidden, c.width0)}};
  if (c.width1 > 0) {
    parts.push_back({.ffn = RandomFfn(c.hidden, c.width1)});
  }
  if (c.weighted) {
    for (GatedPart& part : parts) {
      part.weight_T = at::rand({c.tokens});
    }
  }
  Tensor x = at::randn({c.tokens, c.hidden});
  // Frozen first part, trained second one, unless all are trained.
  std::vector<Tensor*> leaves = {&x};
  for (size_t p = 0; p < parts.size(); ++p) {
    if (parts[p].weight_T.defined()) {
      leaves.push_back(&parts[p].weight_T);
    }
    if (c.all_trained || p > 0) {
      auto& f = parts[p].ffn;
      leaves.insert(leaves.end(), {&f.gate_FD, &f.up_FD, &f.down_DF});
    }
  }
  std::vector<GatedPart> wide = parts;
  Tensor wide_x = x.to(at::kDouble).requires_grad_();
  std::vector<Tensor> wanted = {wide_x};
  for (size_t p = 0; p < wide.size(); ++p) {
    const auto widen = [&](Tensor* tensor, bool trained) {
      *tensor = tensor->to(at::kDouble);
      if (trained) {
        tensor->requires_grad_();
        wanted.push_back(*tensor);
      }
    };
    if (wide[p].weight_T.defined()) {
      widen(&wide[p].weight_T, true);
    }
    for (Tensor* tensor :
         {&wide[p].ffn.gate_FD, &wide[p].ffn.up_FD, &wide[p].ffn.down_DF}) {
      widen(tensor, c.all_trained || p > 0);
    }
  }
  for (Tensor* leaf : leaves) {
    leaf->requires_grad_();
  }
  const Tensor direction = at::randn({c.tokens, c.hidden});
  const Tensor y = GatedMix(x, parts);
  const Tensor plain = Plain(wide_x, wide);
  EXPECT_LT((y.to(at::kDouble) - plain).abs().max().item<double>(),
            1e-5 * (1 + plain.abs().max().item<double>()));
  {
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(GatedMix(x, parts), y));
  }
  (y * direction).sum().backward();
  (plain * direction.to(at::kDouble)).sum().backward();
  ASSERT_EQ(leaves.size(), wanted.size());
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Tensor got = leaves[i]->grad().to(at::kDouble);
    const double error =
        ((got - wanted[i].grad()).norm() / wanted[i].grad().norm())
            .item<double>();
    EXPECT_LT(error, 1e-5) << "leaf " << i;
  }
  if (!c.all_trained) {
    EXPECT_FALSE(parts[0].ffn.gate_FD.grad().defined());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, GatedMixTest,
    ::testing::Values(Case{37, 24, 40, 33, true, false},
                      Case{37, 24, 40, 8, true, true},
                      Case{1, 16, 24, 8, true, false},  // one token
                      Case{5, 16, 24, 0, false, true},  // one part
                      Case{5, 16, 24, 16, false, false},
                      Case{300, 8, 4100, 17, true, false}));  // long rows

// Frozen weights of another dtype: the result of their values, no gradient.
TEST(GatedMixTest, FrozenBfloat16IsConvertedForEveryProduct) {
  at::manual_seed(12);
  GatedPart frozen = {.ffn = RandomFfn(32, 48), .weight_T = at::rand({9})};
  const GatedPart trained = {.ffn = RandomFfn(32, 16),
                             .weight_T = at::rand({9})};
  for (Tensor* tensor :
       {&frozen.ffn.gate_FD, &frozen.ffn.up_FD, &frozen.ffn.down_DF}) {
    *tensor = tensor->to(at::kBFloat16);
  }
  GatedPart same = frozen;
  for (Tensor* tensor :
       {&same.ffn.gate_FD, &same.ffn.up_FD, &same.ffn.down_DF}) {
    *tensor = tensor->to(at::kFloat);
  }
  Tensor a = at::randn({9, 32}).requires_grad_();
  Tensor b = a.detach().clone().requires_grad_();
  const Tensor y = GatedMix(a, {frozen, trained});
  const Tensor z = GatedMix(b, {same, trained});
  EXPECT_TRUE(at::equal(y, z));
  y.sum().backward();
  z.sum().backward();
  EXPECT_TRUE(at::equal(a.grad(), b.grad()));
}

// Large and small arguments of the exponential.
TEST(GatedMixTest, ExtremesStayFinite) {
  model::Ffn one = {.gate_FD = at::ones({1, 1}),
                    .up_FD = at::ones({1, 1}),
                    .down_DF = at::ones({1, 1})};
  one.gate_FD.requires_grad_();
  const Tensor x =
      at::tensor({-1e4f, -100.0f, -1e-6f, 0.0f, 100.0f, 1e4f}).view({6, 1});
  const Tensor y = GatedMix(x, {{.ffn = one}});
  const Tensor wide = x.to(at::kDouble);
  const Tensor wanted = at::silu(wide) * wide;
  EXPECT_TRUE(at::allclose(y.to(at::kDouble), wanted, 1e-5, 1e-6));
  y.sum().backward();
  EXPECT_TRUE(one.gate_FD.grad().isfinite().all().item<bool>());
}

}  // namespace
}  // namespace tributary::contributor
