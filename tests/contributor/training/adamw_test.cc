#include "contributor/training/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace tributary::contributor {
namespace {

using at::Tensor;

// The update as the paper writes it, fp64.
struct PlainAdamW {
  Tensor parameter, first, second;
  int64_t step = 0;

  explicit PlainAdamW(const Tensor& start)
      : parameter(start.detach().to(at::kDouble, false, /*copy=*/true)),
        first(at::zeros_like(parameter)),
        second(at::zeros_like(parameter)) {}

  void Step(const Tensor& gradient, double rate, const OptimizerOptions& o) {
    ++step;
    const Tensor g = gradient.to(at::kDouble);
    parameter.mul_(1 - rate * o.weight_decay);
    first.mul_(o.beta1).add_(g, 1 - o.beta1);
    second.mul_(o.beta2).add_(g.square(), 1 - o.beta2);
    const Tensor m = first / (1 - std::pow(o.beta1, step));
    const Tensor v = second / (1 - std::pow(o.beta2, step));
    parameter.sub_(rate * m / (v.sqrt() + o.epsilon));
  }
};

TEST(AdamWTest, AgreesWithTheFormulaAndClips) {
  at::manual_seed(1);
  const OptimizerOptions options = {.weight_decay = 0.1, .clip_norm = 2};
  Tensor a = at::randn({33, 7}).requires_grad_();
  Tensor b = at::randn({129}).requires_grad_();
  PlainAdamW plain_a(a), plain_b(b);
  AdamW adamw({a, b}, options);
  for (int step = 0; step < 5; ++step) {
    const Tensor ga = at::randn({33, 7}) * (step % 2 == 0 ? 1.0 : 0.01);
    const Tensor gb = at::randn({129}) * (step % 2 == 0 ? 1.0 : 0.01);
    a.mutable_grad() = ga.clone();
    b.mutable_grad() = gb.clone();
    const double norm = std::sqrt(
        (ga.to(at::kDouble).square().sum() + gb.to(at::kDouble).square().sum())
            .item<double>());
    const double rate = 0.01 * (step + 1);
    EXPECT_NEAR(adamw.Step(rate), norm, 1e-4 * norm);
    const double clip = std::min(1.0, options.clip_norm / norm);
    plain_a.Step(ga * clip, rate, options);
    plain_b.Step(gb * clip, rate, options);
    EXPECT_FALSE(a.grad().defined());
  }
  EXPECT_EQ(adamw.steps(), 5);
  EXPECT_TRUE(
      at::allclose(a.detach().to(at::kDouble), plain_a.parameter, 1e-5, 1e-6));
  EXPECT_TRUE(
      at::allclose(b.detach().to(at::kDouble), plain_b.parameter, 1e-5, 1e-6));
}

TEST(AdamWTest, ChangesNothingWhenAGradientIsNotFinite) {
  Tensor a = at::ones({4}).requires_grad_();
  AdamW adamw({a}, {});
  a.mutable_grad() = at::full({4}, std::nan(""));
  EXPECT_TRUE(std::isnan(adamw.Step(0.1)));
  EXPECT_EQ(adamw.steps(), 0);
  EXPECT_TRUE(at::equal(a.detach(), at::ones({4})));
}

// One pass instead of two: the same bits as with a bound that is never reached.
TEST(AdamWTest, WithoutClippingTheUpdateIsTheSame) {
  at::manual_seed(2);
  const Tensor start = at::randn({300, 301});
  Tensor a = start.clone().requires_grad_();
  Tensor b = start.clone().requires_grad_();
  AdamW with({a}, {.clip_norm = 1e9});
  AdamW without({b}, {.clip_norm = 0});
  for (int step = 0; step < 3; ++step) {
    a.mutable_grad() = at::randn({300, 301});
    b.mutable_grad() = a.grad().clone();
    EXPECT_EQ(with.Step(0.01), without.Step(0.01));
  }
  EXPECT_TRUE(at::equal(a.detach(), b.detach()));
  Tensor bad = at::randn({300, 301});
  bad[150][7] = std::nan("");
  b.mutable_grad() = bad;
  EXPECT_TRUE(std::isnan(without.Step(0.01)));
  EXPECT_EQ(without.steps(), 3);
  EXPECT_TRUE(b.detach().isfinite().all().item<bool>());
}

TEST(ScheduleTest, WarmsUpAndFallsToTheFraction) {
  const OptimizerOptions options = {
      .learning_rate = 2, .warmup_steps = 4, .final_fraction = 0.1};
  EXPECT_DOUBLE_EQ(LearningRate(options, 0, 64), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(options, 3, 64), 2);
  EXPECT_DOUBLE_EQ(LearningRate(options, 4, 64), 2);
  EXPECT_NEAR(LearningRate(options, 34, 64), 1.1, 1e-12);
  EXPECT_NEAR(LearningRate(options, 64, 64), 0.2, 1e-12);
  for (int step = 5; step < 64; ++step) {
    EXPECT_LT(LearningRate(options, step, 64),
              LearningRate(options, step - 1, 64));
  }
  EXPECT_DOUBLE_EQ(LearningRate(options, 0, 1), 0.5);
}

TEST(ScheduleTest, OrderIsAPermutationOfItsSeedAndEpoch) {
  const auto order = EpochOrder(9, 0, 50);
  EXPECT_EQ(std::set(order.begin(), order.end()).size(), 50u);
  EXPECT_EQ(order, EpochOrder(9, 0, 50));
  EXPECT_NE(order, EpochOrder(9, 1, 50));
  EXPECT_NE(order, EpochOrder(10, 0, 50));
  EXPECT_NE(EpochOrder(uint64_t{1} << 40, 0, 50), EpochOrder(0, 0, 50));
}

TEST(ScheduleTest, RefusesOptionsOutOfRange) {
  EXPECT_TRUE(CheckOptimizer({}).ok());
  for (const OptimizerOptions& bad :
       {OptimizerOptions{.learning_rate = 0},
        OptimizerOptions{.learning_rate = std::nan("")},
        OptimizerOptions{.beta1 = 1}, OptimizerOptions{.beta2 = -0.1},
        OptimizerOptions{.weight_decay = -1}, OptimizerOptions{.clip_norm = -1},
        OptimizerOptions{.warmup_steps = -1},
        OptimizerOptions{.final_fraction = 2}, OptimizerOptions{.epochs = 0},
        OptimizerOptions{.windows_per_step = 0},
        OptimizerOptions{.checkpoint_steps = 0}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckOptimizer(bad)));
  }
}

}  // namespace
}  // namespace tributary::contributor
