#include "coordinator/evaluation/node_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "coordinator/evaluation/ensemble.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;

TEST(NodeLimitTest, GroupsAreNeighboursOfEqualSize) {
  const auto simulation =
      NodeSimulation::Create({.groups = 3, .limit = 1}, 8, 2);
  ASSERT_TRUE(simulation.ok()) << simulation.status();
  std::vector<int64_t> groups;
  for (int64_t e = 0; e < 8; ++e) {
    groups.push_back(simulation->GroupOf(e));
  }
  EXPECT_THAT(groups, ElementsAre(0, 0, 1, 1, 1, 2, 2, 2));
}

TEST(NodeLimitTest, ChoosesWithinTheBestGroups) {
  const auto one = NodeSimulation::Create({.groups = 3, .limit = 1}, 6, 2);
  ASSERT_TRUE(one.ok()) << one.status();
  // The likeliest expert is alone in its group; the second group's two together
  // are more.
  const std::vector<float> p = {0.30f, 0.02f, 0.22f, 0.20f, 0.25f, 0.01f};
  EXPECT_THAT(one->Choose(p, false), ElementsAre(0, 4));
  EXPECT_THAT(one->Choose(p, true), ElementsAre(2, 3));
  // With two groups and two choices a group counts its best expert.
  const auto two = NodeSimulation::Create({.groups = 3, .limit = 2}, 6, 2);
  EXPECT_THAT(two->Choose(p, true), ElementsAre(0, 4));
  // Experts of other groups are not chosen, however little is left.
  const std::vector<float> sharp = {1.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
  EXPECT_THAT(one->Choose(sharp, true), ElementsAre(0, 1));
}

TEST(NodeLimitTest, AddsUpWhatTheRuleChanges) {
  auto one = NodeSimulation::Create({.groups = 3, .limit = 1}, 6, 2);
  ASSERT_TRUE(one.ok());
  const std::vector<float> tokens = {0.30f, 0.02f, 0.22f, 0.20f, 0.25f, 0.01f,
                                     0.50f, 0.40f, 0.05f, 0.03f, 0.01f, 0.01f};
  one->Add(tokens);
  const NodeLoad load = one->Mean();
  EXPECT_DOUBLE_EQ(load.groups_free, 1.5);
  EXPECT_DOUBLE_EQ(load.groups_limited, 1.0);
  EXPECT_DOUBLE_EQ(load.choices_kept, 0.5);
  EXPECT_NEAR(load.mass_kept, (0.42 / 0.55 + 1) / 2, 1e-6);
}

TEST(NodeLimitTest, RefusesWhatCannotBeChosenFrom) {
  for (const NodeLimit& limit :
       {NodeLimit{0, 1}, NodeLimit{7, 1}, NodeLimit{3, 0}, NodeLimit{3, 4},
        NodeLimit{6, 1}}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(NodeSimulation::Create(limit, 6, 2).status()))
        << limit.groups << " " << limit.limit;
  }
}

TEST(EnsembleTest, LearnsFromTheTokensBefore) {
  const double half = std::log(2.0);
  // Equal models: any of them.
  EXPECT_THAT(EnsembleLosses({{half, half}, {half, half}}),
              ElementsAre(testing::DoubleNear(half, 1e-12),
                          testing::DoubleNear(half, 1e-12)));
  // One says 0.9, the other 0.1; then 0.9 and 0.1 again, by now with nine times
  // the weight: 0.9 * 0.9 + 0.1 * 0.1.
  const double likely = -std::log(0.9);
  const double unlikely = -std::log(0.1);
  const auto losses = EnsembleLosses({{likely, likely}, {unlikely, unlikely}});
  EXPECT_NEAR(losses[0], -std::log(0.5), 1e-12);
  EXPECT_NEAR(losses[1], -std::log(0.82), 1e-12);
  // Certainty and impossibility are no trouble.
  const double never = INFINITY;
  EXPECT_NEAR(EnsembleLosses({{never, half}, {half, half}})[1], half, 1e-12);
  EXPECT_TRUE(EnsembleLosses({}).empty());
}

}  // namespace
}  // namespace tributary::coordinator
