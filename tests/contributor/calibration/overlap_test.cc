#include "contributor/calibration/overlap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "common/base/files.h"

namespace tributary::contributor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One layer whose scores are `values`, as a file.
std::filesystem::path Write(const TemporaryDirectory& folder,
                            const std::string& name,
                            const std::vector<double>& values,
                            const std::string& digest = "d") {
  const auto channels = static_cast<int64_t>(values.size());
  ImportanceSums sums{.formulas = {Formula::kTaylor}, .layers = {}};
  ExactSum sum(channels);
  EXPECT_TRUE(sum.Add(values).ok());
  sums.layers[2] = {.channels_digest = digest,
                    .down_norms = std::vector<double>(values.size(), 1.0),
                    .sums = {sum}};
  const auto path = folder.path() / name;
  EXPECT_TRUE(WriteImportance(path, sums).ok());
  return path;
}

TEST(OverlapTest, CountsChannelsInCommon) {
  const auto folder = *TemporaryDirectory::Create("overlap");
  std::vector<double> up(100);
  std::iota(up.begin(), up.end(), 1.0);
  std::vector<double> shifted(100);
  for (int i = 0; i < 100; ++i) {
    shifted[(i + 10) % 100] = up[i];
  }
  const auto a = Write(folder, "a", up);
  const auto same = CompareImportance(a, a, {0.1, 0.5});
  ASSERT_TRUE(same.ok()) << same.status();
  ASSERT_EQ(same->size(), 1u);
  EXPECT_EQ((*same)[0].layer, 2);
  EXPECT_THAT((*same)[0].tops, ElementsAre(10, 50));
  EXPECT_THAT((*same)[0].common, ElementsAre(10, 50));
  EXPECT_EQ((*same)[0].rank_correlation, 1);
  // The best ten of `shifted` are the worst ten of `up`.
  const auto moved =
      CompareImportance(a, Write(folder, "b", shifted), {0.1, 0.5});
  ASSERT_TRUE(moved.ok());
  EXPECT_THAT((*moved)[0].common, ElementsAre(0, 40));
  std::vector<double> down(up.rbegin(), up.rend());
  const auto opposite = CompareImportance(a, Write(folder, "c", down), {0.5});
  EXPECT_THAT((*opposite)[0].common, ElementsAre(0));
  EXPECT_NEAR((*opposite)[0].rank_correlation, -1, 1e-12);
}

TEST(OverlapTest, RefusesOtherChannels) {
  const auto folder = *TemporaryDirectory::Create("overlap");
  const auto a = Write(folder, "a", {1, 2, 3, 4});
  EXPECT_THAT(CompareImportance(a, Write(folder, "b", {1, 2, 3}), {0.5})
                  .status()
                  .message(),
              HasSubstr("layer 2 has 4 channels in one and 3 in the other"));
  EXPECT_THAT(
      CompareImportance(a, Write(folder, "c", {1, 2, 3, 4}, "other"), {0.5})
          .status()
          .message(),
      HasSubstr("scores other channels"));
  EXPECT_THAT(CompareImportance(a, a, {1.0}).status().message(),
              HasSubstr("got 1, wanted more than 0 and less than 1"));
  EXPECT_TRUE(absl::IsNotFound(
      CompareImportance(a, folder.path() / "none", {0.5}).status()));
}

}  // namespace
}  // namespace tributary::contributor
