// Loops over rows of floats, and the threads that they run on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common/kernels/parallel.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

using at::Tensor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A build without OpenMP would pass every other test, on one thread.
TEST(ParallelForTest, LoopsRunOnAllThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  std::mutex mutex;
  std::set<std::thread::id> ids;
  std::vector<int> times(1000);
  ParallelFor(0, 1000, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ++times[i];
    }
    const std::scoped_lock lock(mutex);
    ids.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(ids.size(), 3u);
  EXPECT_THAT(times, ::testing::Each(1));
  // Too little for two parts of this size.
  ids.clear();
  ParallelFor(0, 100, 100, [&](int64_t, int64_t) {
    ids.insert(std::this_thread::get_id());
  });
  EXPECT_THAT(ids, ::testing::ElementsAre(std::this_thread::get_id()));
  EXPECT_THROW(ParallelFor(0, 1000, 1,
                           [](int64_t begin, int64_t end) {
                             if (end == 1000) {
                               throw std::runtime_error("a part");
                             }
                           }),
               std::runtime_error);
  at::set_num_threads(threads);
}

TEST(ExponentiateRowTest, KeepsItsAccuracyAndShiftsWhenItMust) {
  // Ascending, descending and constant; rises of more than the slack in a block
  // and between blocks.
  for (const Tensor& x :
       {at::linspace(-100, 0, 100'001), at::linspace(700, -700, 5'000),
        at::linspace(-3000, 3000, 6'001), at::full({70}, 5.0),
        at::randn({1'023}) * 8}) {
    Tensor got = x.clone();
    // In two parts.
    const int64_t half = got.numel() / 2;
    float* data = got.mutable_data_ptr<float>();
    ShiftAndSum sums;
    ExponentiateRow(data, half, &sums);
    const float factor =
        ExponentiateRow(data + half, got.numel() - half, &sums);
    got.narrow(0, 0, half).mul_(factor);
    const auto [shift, sum] = sums;
    EXPECT_LE(shift, x.max().item<float>());
    EXPECT_GE(shift, x.max().item<float>() - 30);
    const Tensor wanted = (x.to(at::kDouble) - shift).exp();
    const Tensor normal = x > shift - 86.9;
    EXPECT_LT((got.to(at::kDouble) / wanted - 1)
                  .abs()
                  .masked_select(normal)
                  .max()
                  .item<double>(),
              2e-6);
    EXPECT_LT(got.masked_select(normal.logical_not()).sum().item<double>(),
              1e-30);
    EXPECT_NEAR(sum / wanted.sum().item<double>(), 1, 1e-6);
  }
}

TEST(ExponentiateRowTest, TakesNothingAsZeroAndShowsWhatIsNoNumber) {
  std::vector<float> row(3'000, -kInfinity);
  ShiftAndSum sums;
  ExponentiateRow(row.data(), 3'000, &sums);
  EXPECT_EQ(sums.sum, 0);
  EXPECT_THAT(row, ::testing::Each(0.0f));
  row.assign(3'000, -kInfinity);
  row[2'500] = 7;
  EXPECT_EQ(ExponentiateRow(row.data(), 3'000, &sums), 0);
  EXPECT_EQ(sums.shift, 7);
  EXPECT_EQ(sums.sum, 1);
  EXPECT_EQ(row[2'500], 1);
  for (const float bad : {std::nanf(""), kInfinity}) {
    row.assign(3'000, 1);
    row[1'700] = bad;
    sums = {};
    ExponentiateRow(row.data(), 3'000, &sums);
    EXPECT_TRUE(std::isnan(sums.sum));
  }
}

TEST(ScaleAndAddRowsTest, FollowsTheFormula) {
  const Tensor y = at::randn({37});
  const Tensor rows = at::randn({6, 37});
  const Tensor weights = at::randn({6});
  for (int64_t count = 0; count <= 6; ++count) {
    Tensor got = y.clone();
    std::vector<const float*> pointers;
    for (int64_t k = 0; k < count; ++k) {
      pointers.push_back(rows.const_data_ptr<float>() + k * 37);
    }
    ScaleAndAddRows(got.mutable_data_ptr<float>(), 0.5f, pointers.data(),
                    weights.const_data_ptr<float>(), count, 37);
    EXPECT_TRUE(at::allclose(got,
                             y * 0.5 + at::mv(rows.narrow(0, 0, count).t(),
                                              weights.narrow(0, 0, count)),
                             1e-5, 1e-6));
  }
}

TEST(SumOfExponentialsTest, KeepsItsAccuracy) {
  const Tensor x = at::linspace(-100, 0, 100'001);
  const MaxAndSum got = SumOfExponentials(x.const_data_ptr<float>(), x.numel());
  EXPECT_EQ(got.largest, 0);
  EXPECT_NEAR(got.sum, x.to(at::kDouble).exp().sum().item<double>(), 1e-3);
}

}  // namespace
}  // namespace tributary::kernels
