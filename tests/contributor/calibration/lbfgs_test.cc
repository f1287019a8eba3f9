#include "contributor/calibration/lbfgs.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tributary::contributor {
namespace {

TEST(LbfgsTest, WithoutHistoryItIsSteepestDescentOfUnitLength) {
  const LbfgsHistory history(5);
  const std::vector<double> direction = history.Direction({3, -4});
  EXPECT_DOUBLE_EQ(direction[0], -0.6);
  EXPECT_DOUBLE_EQ(direction[1], 0.8);
}

// On a quadratic with exact line search the method ends in as many steps as
// there are dimensions.
TEST(LbfgsTest, MinimisesAQuadratic) {
  const std::vector<double> curvature = {1, 10, 100, 0.5};
  std::vector<double> x = {1, -2, 3, 4};
  LbfgsHistory history(4);
  const auto gradient = [&](const std::vector<double>& at) {
    std::vector<double> g(at);
    for (size_t i = 0; i < g.size(); ++i) {
      g[i] *= curvature[i];
    }
    return g;
  };
  for (int i = 0; i < 5; ++i) {
    const std::vector<double> g = gradient(x);
    if (Dot(g, g) < 1e-24) {
      break;
    }
    std::vector<double> direction = history.Direction(g);
    const std::vector<double> bent = gradient(direction);
    const double step = -Dot(direction, g) / Dot(direction, bent);
    ASSERT_GT(step, 0);
    for (size_t j = 0; j < x.size(); ++j) {
      direction[j] *= step;
      x[j] += direction[j];
    }
    std::vector<double> change = gradient(x);
    for (size_t j = 0; j < x.size(); ++j) {
      change[j] -= g[j];
    }
    history.Add(direction, change);
  }
  for (const double value : x) {
    EXPECT_NEAR(value, 0, 1e-9);
  }
}

TEST(LbfgsTest, IgnoresStepsWithoutPositiveCurvature) {
  LbfgsHistory history(2);
  history.Add({1, 0}, {-1, 0});
  history.Add({1, 0}, {0, 1});
  EXPECT_DOUBLE_EQ(history.Direction({0, 2})[1], -1);
}

}  // namespace
}  // namespace tributary::contributor
