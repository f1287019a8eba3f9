#include "common/plot/line_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "common/base/files.h"

namespace tributary::plot {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

LineChart Example() {
  return {
      .title = "Loss <of> \"a\" & b",
      .x_label = "step",
      .y_label = "nats per token",
      .series = {
          {.name = "train", .points = {{1, 4}, {2, 3.5}, {3, 3.25}}},
          {.name = "held-out", .points = {{1, 4.1}, {3, 3.6}}, .marks = true}}};
}

TEST(LineChartTest, IsWellFormedXml) {
  const auto folder = TemporaryDirectory::Create("plot");
  ASSERT_TRUE(folder.ok());
  for (const LineChart& chart :
       {Example(), LineChart{}, LineChart{.series = {{.name = "empty"}}}}) {
    const auto path = folder->path() / "chart.svg";
    ASSERT_TRUE(WriteFileAtomic(path, ToSvg(chart)).ok());
    const std::string command = std::string(TRIBUTARY_PYTHON) +
                                " -c \"import sys, xml.dom.minidom; "
                                "xml.dom.minidom.parse(sys.argv[1])\" " +
                                path.string();
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
}

TEST(LineChartTest, ShowsSeriesLabelsAndFollowsTheColourScheme) {
  const std::string svg = ToSvg(Example());
  for (const char* part :
       {"Loss &lt;of&gt; &quot;a&quot; &amp; b", ">step<", ">nats per token<",
        ">train<", ">held-out<", "currentColor", "prefers-color-scheme:dark",
        "<circle"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
  EXPECT_THAT(svg, Not(HasSubstr("<script")));
  EXPECT_THAT(svg, Not(HasSubstr("href")));
  EXPECT_EQ(svg, ToSvg(Example()));
}

TEST(LineChartTest, PointsThatAreNotFiniteInterruptTheLine) {
  LineChart chart = {
      .series = {
          {.name = "a",
           .points = {
               {0, 1}, {1, std::nan("")}, {2, 3}, {3, INFINITY}, {4, 2}}}}};
  const std::string svg = ToSvg(chart);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_THAT(svg, Not(HasSubstr("L")));
}

TEST(LineChartTest, TicksAreRoundAndCoverTheRange) {
  EXPECT_THAT(Ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(Ticks(3.26, 4.1, 4),
              ElementsAre(DoubleNear(3, 1e-9), DoubleNear(3.5, 1e-9),
                          DoubleNear(4, 1e-9), DoubleNear(4.5, 1e-9)));
  EXPECT_THAT(Ticks(-1, 1, 4), ElementsAre(-1, -0.5, 0, 0.5, 1));
  EXPECT_GE(Ticks(5, 5, 4).size(), 1u);
  EXPECT_LE(Ticks(0, 1e9, 6).size(), 8u);
}

}  // namespace
}  // namespace tributary::plot
