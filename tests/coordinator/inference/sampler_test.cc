#include "coordinator/inference/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace tributary::coordinator {
namespace {

TEST(SamplerTest, ZeroTemperatureTakesTheFirstOfTheLikeliest) {
  Sampler sampler(0, 1, 7);
  EXPECT_EQ(sampler.Choose(std::vector<float>{0, 3, 1, 3}), 1);
}

TEST(SamplerTest, DrawsFollowTheProbabilities) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.6f),
                                     std::log(0.3f)};
  Sampler sampler(1, 1, 11);
  std::vector<int> counts(3);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    ++counts[static_cast<size_t>(sampler.Choose(logits))];
  }
  // Five standard deviations.
  EXPECT_NEAR(counts[0] / double{kDraws}, 0.1, 0.011);
  EXPECT_NEAR(counts[1] / double{kDraws}, 0.6, 0.018);
}

TEST(SamplerTest, TemperatureSharpens) {
  const std::vector<float> logits = {0, 1};
  Sampler sampler(0.1, 1, 3);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(sampler.Choose(logits), 1);  // e^-10 for the other
  }
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.5f),
                                     std::log(0.15f), std::log(0.25f)};
  Sampler sampler(1, 0.7, 5);
  std::vector<int> counts(4);
  for (int i = 0; i < 5000; ++i) {
    ++counts[static_cast<size_t>(sampler.Choose(logits))];
  }
  EXPECT_EQ(counts[0], 0);
  EXPECT_EQ(counts[2], 0);
  EXPECT_NEAR(counts[1] / 5000.0, 0.5 / 0.75, 0.034);
}

TEST(SamplerTest, TopPOfManyTokens) {
  std::vector<float> logits(1000, 0.0f);
  Sampler sampler(1, 0.5, 5);
  for (int i = 0; i < 2000; ++i) {
    EXPECT_LT(sampler.Choose(logits), 500);  // equal ones in order
  }
}

TEST(SamplerTest, TheSameSeedDrawsTheSame) {
  const std::vector<float> logits(100, 0.0f);
  Sampler a(1, 0.9, 42);
  Sampler b(1, 0.9, 42);
  Sampler c(1, 0.9, 43);
  int differ = 0;
  for (int i = 0; i < 50; ++i) {
    const int32_t drawn = a.Choose(logits);
    EXPECT_EQ(drawn, b.Choose(logits));
    differ += drawn != c.Choose(logits) ? 1 : 0;
  }
  EXPECT_GT(differ, 25);
}

}  // namespace
}  // namespace tributary::coordinator
