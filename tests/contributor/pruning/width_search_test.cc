#include "contributor/pruning/width_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::contributor {
namespace {

using model_format::ExpertLayout;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Four layers, FFN 1024, blocks of 128.
model_format::ModelConfig Anchor() {
  return {.intermediate_size = 1024, .num_layers = 4};
}

const std::vector<int64_t> kAvailable = {0, 0, 1024, 1024};

TEST(SmallestWidthTest, BisectsOverBlocks) {
  int measured = 0;
  const MeasureWidths measure = [&](const ExpertLayout& layout) {
    ++measured;
    EXPECT_EQ(layout.widths[0], 0);
    EXPECT_EQ(layout.widths[2], layout.widths[3]);
    // 2.0 at full width, 0.1 more for every block that is missing.
    return 2.0 + 0.1 * static_cast<double>(1024 - layout.widths[2]) / 128;
  };
  const auto choice = SmallestWidth(Anchor(), kAvailable, 0.25, measure);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_THAT(choice->layout.widths, ElementsAre(0, 0, 768, 768));
  EXPECT_EQ(measured, 4);  // full, 512, 768, 640
  EXPECT_THAT(choice->trials, SizeIs(4));
  EXPECT_EQ(choice->trials[0].label, "full");
  EXPECT_EQ(SmallestWidth(Anchor(), kAvailable, 10, measure)->layout.widths[2],
            128);
  // Nothing narrower will do.
  EXPECT_EQ(
      SmallestWidth(Anchor(), kAvailable, 0.01, measure)->layout.widths[2],
      1024);
}

TEST(SmallestWidthTest, KeepsNarrowLayersAndErrors) {
  const auto narrow =
      SmallestWidth(Anchor(), {0, 256, 1024, 1024}, 1,
                    [](const ExpertLayout& layout) -> StatusOr<double> {
                      return layout.widths[3] >= 512 ? 1.0 : 3.0;
                    });
  ASSERT_TRUE(narrow.ok());
  EXPECT_THAT(narrow->layout.widths, ElementsAre(0, 256, 512, 512));
  const MeasureWidths fails = [](const ExpertLayout&) -> StatusOr<double> {
    return absl::CancelledError("stop");
  };
  EXPECT_TRUE(absl::IsCancelled(
      SmallestWidth(Anchor(), kAvailable, 1, fails).status()));
  EXPECT_THAT(SmallestWidth(Anchor(), kAvailable, -1, fails).status().message(),
              HasSubstr("got a bound of -1"));
}

TEST(CheckAgainstUniformTest, TakesTheBetterOne) {
  const ExpertLayout planned{{0, 0, 256, 768}};
  double uneven = 1;
  const MeasureWidths measure = [&](const ExpertLayout& layout) {
    return layout.widths[2] == layout.widths[3] ? 2.0 : uneven;
  };
  auto choice = CheckAgainstUniform(Anchor(), kAvailable, planned, measure);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->layout, planned);
  ASSERT_THAT(choice->trials, SizeIs(2));
  EXPECT_THAT(choice->trials[1].layout.widths, ElementsAre(0, 0, 512, 512));
  uneven = 3;
  choice = CheckAgainstUniform(Anchor(), kAvailable, planned, measure);
  EXPECT_THAT(choice->layout.widths, ElementsAre(0, 0, 512, 512));
  // Equal widths need no check.
  choice =
      CheckAgainstUniform(Anchor(), kAvailable, {{0, 0, 384, 384}}, measure);
  EXPECT_THAT(choice->trials, SizeIs(0));
}

}  // namespace
}  // namespace tributary::contributor
