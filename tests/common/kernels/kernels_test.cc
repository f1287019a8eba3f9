// Every kernel and every gradient against plain tensor operations in fp64.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "common/kernels/combined_element.h"
#include "common/kernels/dispatch.h"
#include "common/kernels/head_loss.h"
#include "common/kernels/products.h"
#include "common/kernels/rms_norm.h"
#include "common/kernels/rope.h"
#include "common/kernels/scratch.h"
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

TEST_F(KernelsTest, ChoosesByLogitsAsBySoftmax) {
  for (const int64_t experts : {2, 5, 64, 1500}) {
    const Tensor logits = at::randn({70, experts}) * 4;
    const Tensor p = at::softmax(logits, -1);
    for (const bool renormalise : {false, true}) {
      const int64_t k = std::min<int64_t>(experts, 3);
      const Choice choice = ChooseByLogits(logits, k, renormalise);
      const Tensor ids = ChooseExperts(p, k);
      EXPECT_TRUE(at::equal(choice.ids_TK, ids));
      Tensor wanted = p.gather(1, ids);
      if (renormalise) {
        wanted = wanted / wanted.sum(-1, true);
      }
      EXPECT_LT(RelativeError(choice.weights_TK, wanted), 1e-6) << experts;
    }
  }
}

TEST_F(KernelsTest, SortsTokensByExpertAndMergesSome) {
  const Tensor ids =
      at::tensor({0, 2, 1, 3, 0, 1, 2, 3}, at::kLong).view({4, 2});
  const Dispatch dispatch =
      SortByExpert(ids, {true, true, false, false, false});
  // Tokens 0, 1, 2 chose a merged expert, 0 and 3 expert 2, 1 and 3 expert 3.
  EXPECT_TRUE(at::equal(dispatch.tokens_N,
                        at::tensor({0, 1, 2, 0, 3, 1, 3}, at::kLong)));
  EXPECT_TRUE(
      at::equal(dispatch.rows_TK,
                at::tensor({0, 3, 1, 5, 2, 2, 4, 6}, at::kLong).view({4, 2})));
  ASSERT_EQ(dispatch.experts.size(), 3u);
  const std::vector<std::vector<int64_t>> wanted = {
      {kMergedExperts, 0, 3}, {2, 3, 2}, {3, 5, 2}};
  for (size_t i = 0; i < wanted.size(); ++i) {
    const ExpertRows& rows = dispatch.experts[i];
    EXPECT_THAT((std::vector<int64_t>{rows.expert, rows.begin, rows.count}),
                ::testing::ElementsAreArray(wanted[i]));
  }
}

TEST_F(KernelsTest, CombinesRowsWithAndWithoutGradients) {
  for (const int64_t k : {1, 2, 3}) {
    const Tensor out = at::randn({9, 37});
    const Tensor rows = at::randint(9, {6, k}, at::kLong);
    const Tensor weights = at::rand({6, k});
    const auto formula = [&](const Tensor& values) {
      return (values.index_select(0, rows.flatten()).view({6, k, 37}) *
              weights.to(values.scalar_type()).unsqueeze(-1))
          .sum(1);
    };
    const auto combine = [&](const Tensor& values) {
      return CombineRows(values, rows, weights);
    };
    EXPECT_LT(RelativeError(combine(out), formula(out.to(at::kDouble))), 1e-6);
    const Tensor g = at::randn({6, 37});
    EXPECT_LT(RelativeError(
                  GradientOf(out, g, combine),
                  GradientOf(out.to(at::kDouble), g.to(at::kDouble), formula)),
              1e-6);
  }
}

TEST_F(KernelsTest, TheGpuKernelsBodyCombinesRowsToo) {
  const Tensor out = at::randn({9, 37});
  const Tensor rows = at::randint(9, {6, 3}, at::kLong);
  const Tensor weights = at::rand({6, 3});
  const Tensor wanted = CombineRows(out, rows, weights);
  const Tensor narrow = out.to(at::kBFloat16);
  for (int64_t t = 0; t < 6; ++t) {
    const int64_t* row = rows.const_data_ptr<int64_t>() + t * 3;
    const float* weight = weights.const_data_ptr<float>() + t * 3;
    for (int64_t d = 0; d < 37; ++d) {
      const auto expected = wanted[t][d].item<float>();
      EXPECT_NEAR(
          CombinedElement(out.const_data_ptr<float>(), row, weight, 3, 37, d),
          expected, 1e-5);
      EXPECT_NEAR(CombinedElement(narrow.const_data_ptr<at::BFloat16>(), row,
                                  weight, 3, 37, d),
                  expected, 5e-2);
    }
  }
}

TEST_F(KernelsTest, GathersRows) {
  const Tensor x = at::randn({5, 7});
  const Tensor tokens = at::tensor({0, 3, 4}, at::kLong);
  for (const Tensor& from : {x, x.t().contiguous().t()}) {
    Tensor out = at::empty({3, 7});
    GatherRows(out, from, tokens);
    EXPECT_TRUE(at::equal(out, x.index_select(0, tokens)));
  }
}

TEST_F(KernelsTest, MultipliesBySiluOfAnySize) {
  const Tensor gate =
      at::cat({at::linspace(-120, 120, 100'001), at::zeros({3})});
  const Tensor up = at::randn(gate.sizes());
  Tensor got = gate.clone();
  MultiplySilu(got, up);
  const Tensor wide = gate.to(at::kDouble);
  const Tensor wanted = wide * at::sigmoid(wide) * up.to(at::kDouble);
  EXPECT_LT((got.to(at::kDouble) - wanted).abs().max().item<double>(), 1e-4);
  EXPECT_LT(RelativeError(got, wanted), 1e-6);
  const Tensor close = wide.abs() < 80;
  EXPECT_LT(((got.to(at::kDouble) - wanted) / wanted)
                .abs()
                .masked_select(close.logical_and(wanted != 0))
                .max()
                .item<double>(),
            2e-6);
}

TEST_F(KernelsTest, ProductsWithNarrowWeightsAreThoseOfWidenedOnes) {
  for (const int64_t tokens : {1, 3, 4, 5, 33}) {
    // More than one piece at the larger width.
    for (const auto& [width, outputs] : {std::pair{70, 45}, {4096, 1100}}) {
      const Tensor x = at::randn({tokens, width});
      const Tensor weight = at::randn({outputs, width});
      const Tensor narrow = weight.to(at::kBFloat16);
      const Tensor whole = at::empty({tokens, outputs + 3});
      Tensor out = whole.narrow(1, 2, outputs);  // strided rows
      LinearInto(out, x, narrow);
      EXPECT_LT(RelativeError(
                    out, at::linear(x.to(at::kDouble), narrow.to(at::kDouble))),
                1e-6)
          << tokens << " x " << width;
      LinearInto(out, x, weight);
      EXPECT_LT(RelativeError(
                    out, at::linear(x.to(at::kDouble), weight.to(at::kDouble))),
                1e-6);
    }
  }
}

TEST_F(KernelsTest, NarrowsToTheNearest) {
  const Tensor x =
      at::cat({at::randn({1000}) * 1e3, at::randn({1000}) * 1e-30,
               at::tensor({0.0f, -0.0f, INFINITY, -INFINITY, NAN, 3.39e38f})});
  Tensor got = at::empty(x.sizes(), at::kBFloat16);
  NarrowRow(x.const_data_ptr<float>(), x.numel(),
            static_cast<uint16_t*>(got.mutable_data_ptr()));
  EXPECT_TRUE(at::allclose(got.to(at::kFloat),
                           x.to(at::kBFloat16).to(at::kFloat), 0, 0,
                           /*equal_nan=*/true));
}

TEST_F(KernelsTest, GatedMlpInEveryPrecision) {
  const Tensor x = at::randn({40, 96});
  const Tensor gate = (at::randn({72, 96}) * 0.2).to(at::kBFloat16);
  const Tensor up = (at::randn({72, 96}) * 0.2).to(at::kBFloat16);
  const Tensor down = (at::randn({96, 72}) * 0.2).to(at::kBFloat16);
  const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
  const Tensor wanted = at::linear(
      at::silu(at::linear(wide(x), wide(gate))) * at::linear(wide(x), wide(up)),
      wide(down));
  for (const int64_t tokens : {2, 40}) {
    const Tensor rows = x.narrow(0, 0, tokens);
    Tensor out = at::empty({tokens, 96});
    GatedMlpInto(out, rows, gate, up, down);
    EXPECT_LT(RelativeError(out, wanted.narrow(0, 0, tokens)), 1e-6);
    SetProductPrecision(ProductPrecision::kBf16);
    GatedMlpInto(out, rows, gate, up, down);
    EXPECT_LT(RelativeError(out, wanted.narrow(0, 0, tokens)), 1e-2);
    Tensor product = at::empty({tokens, 72});
    LinearInto(product, rows, gate);
    EXPECT_LT(RelativeError(product, at::linear(wide(rows), wide(gate))), 5e-3);
    SetProductPrecision(ProductPrecision::kFp32);
  }
}

TEST_F(KernelsTest, ScratchIsReusedAndReleased) {
  ReleaseScratch();
  const auto options = at::TensorOptions(at::kFloat);
  const Tensor a = ScratchTensor(Scratch::kGate, {3, 5}, options);
  const Tensor b = ScratchTensor(Scratch::kUp, {3, 5}, options);
  EXPECT_NE(a.const_data_ptr(), b.const_data_ptr());
  EXPECT_EQ(ScratchTensor(Scratch::kGate, {2, 2}, options).const_data_ptr(),
            a.const_data_ptr());
  EXPECT_EQ(ScratchBytes(), 120);
  EXPECT_EQ(ScratchTensor(Scratch::kGate, {7, 5}, options).numel(), 35);
  EXPECT_EQ(ScratchBytes(), 200);
  ReleaseScratch();
  EXPECT_EQ(ScratchBytes(), 0);
}

TEST_F(KernelsTest, SumOfExponentialsFindsTheLargest) {
  for (const int64_t size : {1, 15, 1024, 5000}) {
    Tensor x = at::randn({size}) * 20 - 500;
    x[size - 1] = -400.0f;  // the largest comes last
    const MaxAndSum got = SumOfExponentials(x.const_data_ptr<float>(), size);
    EXPECT_EQ(got.largest, x.max().item<float>());
    const double wanted = (x.to(at::kDouble) - static_cast<double>(got.largest))
                              .exp()
                              .sum()
                              .item<double>();
    EXPECT_NEAR(got.sum / wanted, 1, 1e-6) << size;
  }
}

}  // namespace
}  // namespace tributary::kernels
