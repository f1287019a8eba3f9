#include "contributor/pruning/width_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contributor/pruning/channels.h"

namespace tributary::contributor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WidthPlanTest : public ::testing::Test {
 protected:
  WidthPlanTest() {
    anchor_.hidden_size = 16;
    anchor_.intermediate_size = 512;  // blocks of 128
    anchor_.num_layers = 4;
  }

  StatusOr<std::vector<int64_t>> Plan(const WidthRequest& request) {
    ASSIGN_OR_RETURN(const auto layout,
                     PlanWidths(anchor_, 1, available_, scores_, request));
    return layout.widths;
  }

  model_format::ModelConfig anchor_;
  std::vector<int64_t> available_ = {0, 512, 512, 512};
  std::vector<std::vector<float>> scores_ =
      std::vector<std::vector<float>>(4, std::vector<float>(512, 1.0f));
};

TEST_F(WidthPlanTest, OneWidthOrOnePerLayer) {
  EXPECT_THAT(*Plan({.widths = {256}}), ElementsAre(0, 256, 256, 256));
  EXPECT_THAT(*Plan({.widths = {0, 128, 0, 512}}), ElementsAre(0, 128, 0, 512));
}

TEST_F(WidthPlanTest, Fraction) {
  EXPECT_THAT(*Plan({.fraction = 1}), ElementsAre(0, 512, 512, 512));
  EXPECT_THAT(*Plan({.fraction = 0.75}), ElementsAre(0, 384, 384, 384));
  EXPECT_THAT(*Plan({.fraction = 0.7}), ElementsAre(0, 256, 256, 256));
  EXPECT_THAT(*Plan({.fraction = 0.01}), ElementsAre(0, 128, 128, 128));
}

TEST_F(WidthPlanTest, BudgetFollowsNormalisedScores) {
  // Layer 2 is flat at a scale that must not matter; layers 1 and 3 have a few
  // strong channels and many weak ones.
  for (int i = 0; i < 512; ++i) {
    scores_[1][i] = i < 128 ? 10.0f : 0.01f;
    scores_[2][i] = 1000.0f;
    scores_[3][i] = i % 4 == 0 ? 5.0f : 0.5f;
  }
  const int64_t block = 3 * 16 * 128;
  // Strong channels: 128 of layer 1, 128 of layer 3, then all of layer 2.
  EXPECT_THAT(*Plan({.parameter_budget = 6 * block}),
              ElementsAre(0, 128, 512, 128));
  EXPECT_THAT(*Plan({.parameter_budget = 3 * block}),
              ElementsAre(0, 128, 128, 128));
  EXPECT_THAT(*Plan({.parameter_budget = 5 * block - 1}),
              ElementsAre(0, 128, 256, 128));
  EXPECT_THAT(*Plan({.parameter_budget = 100 * block}),
              ElementsAre(0, 512, 512, 512));
}

TEST_F(WidthPlanTest, BudgetHasAFloorOfOneBlock) {
  scores_[3].assign(512, 0.0f);
  const int64_t block = 3 * 16 * 128;
  EXPECT_THAT(*Plan({.parameter_budget = 5 * block}),
              ElementsAre(0, 256, 256, 128));
  const auto refused = Plan({.parameter_budget = 3 * block - 1});
  ASSERT_TRUE(absl::IsInvalidArgument(refused.status()));
  EXPECT_THAT(refused.status().message(),
              HasSubstr("one block of 128 channels in each of 3 layers"));
}

TEST_F(WidthPlanTest, RefusesWhatCannotBe) {
  const WidthRequest bad[] = {{},
                              {.widths = {256}, .fraction = 0.5},
                              {.widths = {100}},
                              {.widths = {640}},
                              {.widths = {-128}},
                              {.widths = {128, 128}},
                              {.widths = {128, 128, 128, 128}},
                              {.fraction = 1.5},
                              {.fraction = -1},
                              {.parameter_budget = -5}};
  for (const WidthRequest& request : bad) {
    EXPECT_TRUE(absl::IsInvalidArgument(Plan(request).status()))
        << Plan(request).status();
  }
  available_[2] = 128;
  EXPECT_THAT(Plan({.widths = {256}}).status().message(),
              HasSubstr("width of layer 2: got 256, wanted at most 128"));
  EXPECT_TRUE(absl::IsInvalidArgument(
      PlanWidths(anchor_, 4, available_, scores_, {.widths = {128}}).status()));
}

TEST(HighestChannelsTest, DescendingAndStable) {
  const std::vector<float> scores = {1, 3, 2, 3, 0};
  EXPECT_THAT(HighestChannels(scores, 4), ElementsAre(1, 3, 2, 0));
  EXPECT_THAT(HighestChannels(scores, 0), ElementsAre());
}

}  // namespace
}  // namespace tributary::contributor
