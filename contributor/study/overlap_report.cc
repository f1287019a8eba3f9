#include "contributor/study/overlap_report.h"

#include <cmath>

#include "common/base/files.h"
#include "common/cli/output.h"

namespace tributary::contributor {
namespace {

std::string Percent(double share) {
  return fmt::format("{:.0f} %", 100 * share);
}

// Where a shown fraction is among all.
size_t IndexOf(const OverlapReport& report, double fraction) {
  size_t best = 0;
  for (size_t i = 0; i < report.fractions.size(); ++i) {
    if (std::fabs(report.fractions[i] - fraction) <
        std::fabs(report.fractions[best] - fraction)) {
      best = i;
    }
  }
  return best;
}

}  // namespace

nlohmann::json ToJson(const OverlapReport& report) {
  nlohmann::json layers = nlohmann::json::array();
  for (const StudyOverlap& layer : report.layers) {
    layers.push_back({{"layer", layer.layer},
                      {"channels", layer.channels},
                      {"common", layer.common},
                      {"rank_correlation", layer.rank_correlation}});
  }
  return {{"first", report.first},
          {"second", report.second},
          {"fractions", report.fractions},
          {"layers", std::move(layers)}};
}

std::string OverlapTable(const OverlapReport& report) {
  std::vector<std::vector<std::string>> rows = {{"layer"}};
  for (const double fraction : report.shown) {
    rows[0].push_back("top " + Percent(fraction));
  }
  rows[0].push_back("rank correlation");
  std::vector<double> sums(report.shown.size(), 0.0);
  for (const StudyOverlap& layer : report.layers) {
    std::vector<std::string>& row = rows.emplace_back();
    row.push_back(std::to_string(layer.layer));
    for (size_t i = 0; i < report.shown.size(); ++i) {
      const double common = layer.common[IndexOf(report, report.shown[i])];
      sums[i] += common;
      row.push_back(Percent(common));
    }
    row.push_back(fmt::format("{:.3f}", layer.rank_correlation));
  }
  if (!report.layers.empty()) {
    std::vector<std::string>& row = rows.emplace_back();
    row.emplace_back("mean");
    for (const double sum : sums) {
      row.push_back(Percent(sum / static_cast<double>(report.layers.size())));
    }
    row.emplace_back("");
  }
  return cli::FormatTable(rows);
}

std::string OverlapSummaryPicture(const OverlapReport& report) {
  plot::LineChart chart{
      .title = "Channels in common: " + report.first + " and " + report.second,
      .x_label = "layer",
      .y_label = "share of the top in both",
      .series = {},
      .y_min = 0,
      .y_max = 1};
  for (const double fraction : report.shown) {
    plot::Series& series = chart.series.emplace_back();
    series.name = "top " + Percent(fraction);
    series.marks = true;
    for (const StudyOverlap& layer : report.layers) {
      series.points.push_back({static_cast<double>(layer.layer),
                               layer.common[IndexOf(report, fraction)]});
    }
  }
  return plot::ToSvg(chart);
}

std::string OverlapLayerPicture(const OverlapReport& report,
                                const StudyOverlap& layer) {
  plot::LineChart chart{
      .title = fmt::format("Layer {}: {} and {}", layer.layer, report.first,
                           report.second),
      .x_label = "top, share of the channels",
      .y_label = "share of the top in both",
      .series = {{.name = "measured", .points = {}, .marks = true},
                 {.name = "by chance", .points = {{0, 0}, {1, 1}}}},
      .width = 480,
      .height = 300,
      .y_min = 0,
      .y_max = 1};
  for (size_t i = 0; i < report.fractions.size(); ++i) {
    chart.series[0].points.push_back({report.fractions[i], layer.common[i]});
  }
  return plot::ToSvg(chart);
}

Status WriteOverlapReport(const OverlapReport& report,
                          const std::filesystem::path& folder) {
  RETURN_IF_ERROR(MakeDirectories(folder));
  RETURN_IF_ERROR(
      WriteFileAtomic(folder / "overlap.json", ToJson(report).dump(2) + "\n"));
  RETURN_IF_ERROR(WriteFileAtomic(
      folder / "overlap.txt",
      fmt::format("Share of the most important channels that {} and {} have "
                  "in common\n{}\n",
                  report.first, report.second, OverlapTable(report))));
  RETURN_IF_ERROR(
      WriteFileAtomic(folder / "summary.svg", OverlapSummaryPicture(report)));
  for (const StudyOverlap& layer : report.layers) {
    RETURN_IF_ERROR(
        WriteFileAtomic(folder / fmt::format("layer-{:02}.svg", layer.layer),
                        OverlapLayerPicture(report, layer)));
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor
