#include "contributor/calibration/exact_sum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "contributor/calibration/channel_sums.h"

namespace tributary::contributor {
namespace {

using ::testing::ElementsAre;

TEST(ExactSumTest, AnyOrderAndGroupingGiveTheSameLimbs) {
  std::mt19937_64 random(5);
  std::vector<double> values(400);
  for (double& value : values) {
    value = std::ldexp(static_cast<double>(random() >> 11),
                       -20 - static_cast<int>(random() % 90));
  }
  ExactSum forward(1), backward(1), left(1), right(1);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_TRUE(forward.Add(std::span(&values[i], 1)).ok());
    ASSERT_TRUE(
        backward.Add(std::span(&values[values.size() - 1 - i], 1)).ok());
    ASSERT_TRUE((i % 3 == 0 ? left : right).Add(std::span(&values[i], 1)).ok());
  }
  ASSERT_TRUE(right.Add(left).ok());
  EXPECT_EQ(forward.limbs(), backward.limbs());
  EXPECT_EQ(forward.limbs(), right.limbs());
  std::ranges::sort(values);
  long double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  EXPECT_NEAR(forward.Values()[0] / static_cast<double>(sum), 1, 1e-15);
}

TEST(ExactSumTest, KeepsSmallBesideLarge) {
  ExactSum sum(2);
  const std::vector<double> large = {0x1p39, 1};
  const std::vector<double> small = {0x1p-100, 0x1p-100};
  ASSERT_TRUE(sum.Add(large).ok());
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(sum.Add(small).ok());
  }
  const auto again = ExactSum::FromLimbs(sum.limbs());
  ASSERT_TRUE(again.ok());
  EXPECT_THAT(again->limbs(),
              ElementsAre(int64_t{1} << 59, 1 << 20, 0, 0, 4, 4));
}

TEST(ExactSumTest, RefusesWhatIsNoSum) {
  ExactSum sum(1);
  for (const double value :
       {-1.0, std::nan(""), static_cast<double>(INFINITY), 0x1p41}) {
    EXPECT_TRUE(absl::IsInvalidArgument(sum.Add(std::span(&value, 1))));
  }
  EXPECT_EQ(sum.Values()[0], 0);
  EXPECT_TRUE(absl::IsInvalidArgument(sum.Add(ExactSum(2))));
  EXPECT_FALSE(ExactSum::FromLimbs({1, 2}).ok());
  EXPECT_FALSE(ExactSum::FromLimbs({0, -1, 0}).ok());
  EXPECT_FALSE(ExactSum::FromLimbs({0, int64_t{1} << 40, 0}).ok());
}

TEST(ChannelSumsTest, AgreesWithPlainLoops) {
  constexpr int64_t kTokens = 37;
  constexpr int64_t kChannels = 300;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> a(kTokens * kChannels), weights(kTokens);
  std::ranges::generate(a, [&] { return normal(random); });
  std::ranges::generate(weights, [&] { return std::fabs(normal(random)); });
  std::vector<double> absolute(kChannels), square(kChannels),
      weighted(kChannels);
  SumChannels(a.data(), kTokens, kChannels, weights.data(), 3, kChannels,
              {.absolute = absolute.data(),
               .square = square.data(),
               .weighted = weighted.data()});
  EXPECT_EQ(absolute[2], 0);
  for (int64_t i = 3; i < kChannels; ++i) {
    double wanted[3] = {};
    for (int64_t t = 0; t < kTokens; ++t) {
      const double value = a[t * kChannels + i];
      wanted[0] += std::fabs(value);
      wanted[1] += value * value;
      wanted[2] += weights[t] * std::fabs(value);
    }
    EXPECT_NEAR(absolute[i] / wanted[0], 1, 3e-7);
    EXPECT_NEAR(square[i] / wanted[1], 1, 3e-7);
    EXPECT_NEAR(weighted[i] / wanted[2], 1, 3e-7);
  }
}

}  // namespace
}  // namespace tributary::contributor
