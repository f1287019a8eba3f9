// Every kernel and every gradient against plain tensor operations in fp64.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "common/kernels/dispatch.h"
#include "common/kernels/head_loss.h"
#include "common/kernels/rms_norm.h"
#include "common/kernels/rope.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

using at::Tensor;

double RelativeError(const Tensor& got, const Tensor& wanted) {
  const Tensor reference = wanted.to(at::kDouble);
  return ((got.to(at::kDouble) - reference).norm() /
          reference.norm().clamp_min(1e-30))
      .item<double>();
}

// The gradient of sum(f(x) * weights) at x.
template <typename Function>
Tensor GradientOf(const Tensor& x, const Tensor& weights,
                  const Function& function) {
  Tensor leaf = x.detach().clone().set_requires_grad(true);
  (function(leaf) * weights).sum().backward();
  return leaf.grad();
}

class KernelsTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(11); }
};

TEST_F(KernelsTest, RmsNormAndItsGradientFollowTheFormula) {
  for (const int64_t width : {3, 7, 16, 576, 1000}) {
    const Tensor x = at::randn({3, 5, width}) * 3;
    const Tensor weight = at::randn({width});
    const Tensor g = at::randn({3, 5, width});
    const auto formula = [&](const Tensor& in) {
      return in * at::rsqrt(in.square().mean(-1, true) + 1e-5) *
             weight.to(at::kDouble);
    };
    const auto fused = [&](const Tensor& in) {
      return RmsNorm(in, weight, {.epsilon = 1e-5});
    };
    EXPECT_LT(RelativeError(fused(x), formula(x.to(at::kDouble))), 1e-6);
    EXPECT_LT(RelativeError(
                  GradientOf(x, g, fused),
                  GradientOf(x.to(at::kDouble), g.to(at::kDouble), formula)),
              3e-5)
        << width;
  }
}

TEST_F(KernelsTest, RmsNormOfSixteenBitInputsCastsWhereAsked) {
  const Tensor x = at::randn({4, 64}).to(at::kBFloat16);
  const Tensor weight = at::randn({64});
  const Tensor wide = x.to(at::kFloat);
  const Tensor scaled = wide * at::rsqrt(wide.square().mean(-1, true) + 1e-5);
  EXPECT_TRUE(at::equal(
      RmsNorm(x, weight, {.weight = RmsNormOptions::Weight::kBeforeCast}),
      (scaled * weight).to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(
      RmsNorm(x, weight, {.weight = RmsNormOptions::Weight::kAfterCast}),
      scaled.to(at::kBFloat16) * weight.to(at::kBFloat16)));
}

TEST_F(KernelsTest, RopeRotatesHalvesAndItsGradientRotatesBack) {
  const Tensor frequencies = at::pow(10000.0, -at::arange(8) / 8.0);
  const RopeTable table = MakeRopeTable(frequencies, 3, 6);
  const Tensor wide = at::randn({2, 6, 3 * 48});
  const Tensor x = wide.narrow(2, 48, 48);  // strided rows
  const auto formula = [&](const Tensor& in) {
    const Tensor angles = (at::arange(3, 9, at::kDouble).unsqueeze(1) *
                           frequencies.to(at::kDouble));
    const Tensor split = in.reshape({2, 6, 3, 16}).transpose(1, 2);
    const Tensor a = split.narrow(-1, 0, 8);
    const Tensor b = split.narrow(-1, 8, 8);
    return at::cat({a * angles.cos() - b * angles.sin(),
                    b * angles.cos() + a * angles.sin()},
                   -1);
  };
  const auto fused = [&](const Tensor& in) { return ApplyRope(in, 3, table); };
  EXPECT_LT(RelativeError(fused(x), formula(x.to(at::kDouble))), 1e-6);
  const Tensor g = at::randn({2, 3, 6, 16});
  EXPECT_LT(
      RelativeError(GradientOf(x, g, fused),
                    GradientOf(x.to(at::kDouble), g.to(at::kDouble), formula)),
      1e-6);
}

TEST_F(KernelsTest, HeadLossAndItsGradientEqualCrossEntropy) {
  // More tokens than one chunk holds.
  const int64_t vocabulary = 40'003;
  const int64_t tokens = 450;
  const Tensor head = at::randn({vocabulary, 24}) * 0.5;
  const Tensor hidden = at::randn({tokens, 24}) * 2;
  const Tensor targets = at::randint(vocabulary, {tokens}, at::kLong);
  const Tensor weights = at::rand({tokens});
  const auto reference = [&](const Tensor& in) {
    return at::cross_entropy_loss(at::linear(in, head.to(in.scalar_type())),
                                  targets, {}, at::Reduction::None);
  };
  const auto fused = [&](const Tensor& in) {
    return HeadLogLoss(in, head, targets);
  };
  EXPECT_LT(RelativeError(fused(hidden), reference(hidden.to(at::kDouble))),
            1e-6);
  EXPECT_LT(RelativeError(GradientOf(hidden, weights, fused),
                          GradientOf(hidden.to(at::kDouble),
                                     weights.to(at::kDouble), reference)),
            1e-5);
}

TEST_F(KernelsTest, HeadLossRefusesTargetsOutsideTheVocabulary) {
  EXPECT_THROW(HeadLogLoss(at::randn({1, 4}), at::randn({8, 4}),
                           at::tensor({8}, at::kLong)),
               c10::Error);
}

TEST_F(KernelsTest, ExponentialsKeepTheirAccuracy) {
  const Tensor x = at::linspace(-100, 0, 100'001);
  Tensor got = x.clone();
  ExponentialRow(got.mutable_data_ptr<float>(), 0.0f, 1.0f, got.numel());
  const Tensor wanted = x.to(at::kDouble).exp();
  const Tensor normal = x > -86.9;
  EXPECT_LT((got.to(at::kDouble) / wanted - 1)
                .abs()
                .masked_select(normal)
                .max()
                .item<double>(),
            1e-6);
  EXPECT_EQ(got[got.numel() - 1].item<float>(), 1.0f);
  EXPECT_EQ(got[0].item<float>(), 0.0f);
  EXPECT_NEAR(SumOfExponentials(x.const_data_ptr<float>(), 0.0f, x.numel()),
              wanted.sum().item<double>(), 1e-3);
}

TEST_F(KernelsTest, ChoosesTheLargestAndOfEqualOnesTheLowest) {
  const Tensor p = at::tensor({0.1, 0.2, 0.3, 0.4,      //
                               0.25, 0.25, 0.25, 0.25,  //
                               0.5, 0.1, 0.1, 0.3})
                       .to(at::kFloat)
                       .view({3, 4});
  EXPECT_TRUE(
      at::equal(ChooseExperts(p, 2),
                at::tensor({2, 3, 0, 1, 0, 3}, at::kLong).view({3, 2})));
  const Tensor wide = at::softmax(at::randn({500, 37}), -1);
  const Tensor wanted = std::get<0>(std::get<1>(at::topk(wide, 5)).sort(-1));
  EXPECT_TRUE(at::equal(ChooseExperts(wide, 5), wanted));
}

TEST_F(KernelsTest, SortsTokensByExpertAndMergesSome) {
  const Tensor ids =
      at::tensor({0, 2, 1, 3, 0, 1, 2, 3}, at::kLong).view({4, 2});
  const Dispatch dispatch =
      SortByExpert(ids, {true, true, false, false, false});
  EXPECT_TRUE(
      at::equal(dispatch.merged_tokens, at::tensor({0, 1, 2}, at::kLong)));
  ASSERT_EQ(dispatch.experts.size(), 2u);
  EXPECT_EQ(dispatch.experts[0].expert, 2);
  EXPECT_TRUE(
      at::equal(dispatch.experts[0].tokens, at::tensor({0, 3}, at::kLong)));
  EXPECT_TRUE(
      at::equal(dispatch.experts[0].slots, at::tensor({1, 6}, at::kLong)));
  EXPECT_EQ(dispatch.experts[1].expert, 3);
  EXPECT_TRUE(
      at::equal(dispatch.experts[1].tokens, at::tensor({1, 3}, at::kLong)));
}

TEST_F(KernelsTest, AddsWeightedRowsWithAndWithoutGradients) {
  const Tensor tokens = at::tensor({4, 1, 3}, at::kLong);
  const Tensor x = at::randn({3, 6});
  const Tensor weights = at::rand({3});
  const Tensor y = at::randn({5, 6});
  const Tensor wanted = y.index_add(0, tokens, x * weights.unsqueeze(1));
  EXPECT_LT(
      RelativeError(AddWeightedRows(y.clone(), tokens, x, weights), wanted),
      1e-6);
  Tensor leaf = x.clone().set_requires_grad(true);
  const Tensor out = AddWeightedRows(y.clone(), tokens, leaf, weights);
  out.sum().backward();
  EXPECT_TRUE(at::allclose(leaf.grad(), weights.unsqueeze(1).expand({3, 6})));
}

}  // namespace
}  // namespace tributary::kernels
