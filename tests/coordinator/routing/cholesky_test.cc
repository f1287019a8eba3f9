#include "coordinator/routing/cholesky.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

// B B^T + ridge I for a random B.
std::vector<double> RandomMatrix(int64_t n, double ridge) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> b(n * n);
  for (double& value : b) {
    value = uniform(random);
  }
  std::vector<double> a(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t k = 0; k < n; ++k) {
        a[i * n + j] += b[i * n + k] * b[j * n + k];
      }
    }
    a[i * n + i] += ridge;
  }
  return a;
}

TEST(CholeskyTest, SolvesAcrossPanels) {
  // Less than a panel, one and a bit, several.
  for (const int64_t n : {1, 2, 47, 48, 49, 130}) {
    const std::vector<double> a = RandomMatrix(n, 1.0);
    std::vector<double> x(n);
    for (int64_t i = 0; i < n; ++i) {
      x[i] = std::sin(static_cast<double>(i + 1));
    }
    std::vector<double> b(n, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        b[i] += a[i * n + j] * x[j];
      }
    }
    const auto factor = Cholesky::Factor(a, n);
    ASSERT_TRUE(factor.ok()) << factor.status();
    factor->Solve(b);
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(b[i], x[i], 1e-9) << n << " " << i;
    }
  }
}

TEST(CholeskyTest, ReadsTheLowerTriangleAlone) {
  std::vector<double> a = {4, 99, 2, 3};
  const auto factor = Cholesky::Factor(a, 2);
  ASSERT_TRUE(factor.ok());
  std::vector<double> b = {10, 8};
  factor->Solve(b);
  EXPECT_NEAR(b[0], 1.75, 1e-12);
  EXPECT_NEAR(b[1], 1.5, 1e-12);
}

TEST(CholeskyTest, EstimatesTheCondition) {
  // Diagonal: the 1-norm condition is the ratio of the extremes.
  const int64_t n = 60;
  std::vector<double> a(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    a[i * n + i] = std::pow(10.0, -static_cast<double>(i % 7));
  }
  const auto factor = Cholesky::Factor(a, n);
  ASSERT_TRUE(factor.ok());
  EXPECT_NEAR(factor->Condition() / 1e6, 1.0, 1e-6);
  EXPECT_GT(Cholesky::Factor(RandomMatrix(60, 1e-6), 60)->Condition(),
            Cholesky::Factor(RandomMatrix(60, 1.0), 60)->Condition());
}

TEST(CholeskyTest, RefusesWhatIsNotPositiveDefinite) {
  const auto singular = Cholesky::Factor({1, 1, 1, 1}, 2);
  EXPECT_EQ(singular.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(singular.status().message(), HasSubstr("column 1"));
  EXPECT_FALSE(Cholesky::Factor({-1}, 1).ok());
  EXPECT_FALSE(Cholesky::Factor({std::nan("")}, 1).ok());
  EXPECT_EQ(Cholesky::Factor({1, 2, 3}, 2).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tributary::coordinator
