#include "contributor/study/study_report.h"

#include <cmath>
#include <map>

#include "common/base/files.h"
#include "common/cli/output.h"

namespace tributary::contributor {
namespace {

using nlohmann::json;

json Number(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}

std::string Text(const std::optional<double>& value) {
  return value ? fmt::format("{:.3f}", *value) : "-";
}

json LossJson(const StudyResults& results, const StudyLoss& loss) {
  return {{"heldout_log_loss", loss.mean},
          {"retention", Number(results.Retention(loss))},
          {"standard_error_to_full", StandardError(loss, results.full)}};
}

double ShareOf(const StudyResults& results, int64_t width) {
  return static_cast<double>(width) /
         static_cast<double>(results.intermediate_size);
}

using Cells = std::vector<std::vector<std::string>>;

Cells StudyCells(const StudyResults& results) {
  Cells cells = {{"width", "share", "channels by", "pruned", "retention",
                  "distilled", "retention "}};
  cells.push_back({"-", "", "anchor",
                   fmt::format("{:.4f}", results.anchor.mean), "0.000", "",
                   ""});
  cells.push_back({std::to_string(results.intermediate_size), "100 %", "full",
                   fmt::format("{:.4f}", results.full.mean), "1.000", "", ""});
  for (const StudyRow& row : results.rows) {
    cells.push_back(
        {std::to_string(row.expert.width),
         fmt::format("{:.1f} %", 100 * ShareOf(results, row.expert.width)),
         std::string(ChoiceName(row.expert.choice)),
         fmt::format("{:.4f}", row.pruned.mean),
         Text(results.Retention(row.pruned)),
         row.distilled ? fmt::format("{:.4f}", row.distilled->mean) : "-",
         row.distilled ? Text(results.Retention(*row.distilled)) : "-"});
  }
  return cells;
}

std::string RetentionPicture(const StudyResults& results) {
  plot::LineChart chart{.title = "Kept share of the full expert's gain",
                        .x_label = "width, share of the channels",
                        .y_label = "retention",
                        .series = {}};
  std::map<std::string, plot::Series> series;
  for (const StudyRow& row : results.rows) {
    const std::string choice(ChoiceName(row.expert.choice));
    const double x = ShareOf(results, row.expert.width);
    const auto add = [&](const std::string& name, const StudyLoss& loss) {
      if (const auto retention = results.Retention(loss)) {
        // What falls far below the anchor would hide the rest.
        series[name].points.push_back({x, std::max(-0.5, *retention)});
      }
    };
    add(choice + ", pruned", row.pruned);
    if (row.distilled) {
      add(choice + ", distilled", *row.distilled);
    }
  }
  for (auto& [name, line] : series) {
    line.name = name;
    line.marks = true;
    std::ranges::sort(line.points, {}, &plot::Point::x);
    chart.series.push_back(line);
  }
  return plot::ToSvg(chart);
}

// Means of consecutive steps: single windows differ more than training gains.
plot::Series Smooth(const plot::Series& series) {
  const size_t span = std::max<size_t>(1, series.points.size() / 40);
  plot::Series smooth{.name = series.name, .points = {}};
  for (size_t i = 0; i < series.points.size(); i += span) {
    const size_t end = std::min(i + span, series.points.size());
    double sum = 0;
    for (size_t j = i; j < end; ++j) {
      sum += series.points[j].y;
    }
    smooth.points.push_back(
        {series.points[end - 1].x, sum / static_cast<double>(end - i)});
  }
  return smooth;
}

std::string LossPicture(const StudyResults& results) {
  plot::LineChart chart{.title = "Training loss",
                        .x_label = "step",
                        .y_label = "loss",
                        .series = {}};
  for (const plot::Series& curve : results.curves) {
    chart.series.push_back(Smooth(curve));
  }
  return plot::ToSvg(chart);
}

OverlapReport OverlapOfStudy(const StudyResults& results,
                             const StudyTitle& title) {
  OverlapReport report{.first = title.domain,
                       .second = title.general,
                       .fractions = results.fractions,
                       .shown = {},
                       .layers = results.overlaps};
  for (auto row = results.rows.rbegin(); row != results.rows.rend(); ++row) {
    const double share = ShareOf(results, row->expert.width);
    if (report.shown.empty() || report.shown.back() != share) {
      report.shown.push_back(share);
    }
  }
  return report;
}

std::string Escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string HtmlTable(const Cells& cells) {
  std::string html = "<table>\n";
  for (size_t r = 0; r < cells.size(); ++r) {
    html += "<tr>";
    for (const std::string& cell : cells[r]) {
      const char* tag = r == 0 ? "th" : "td";
      html += fmt::format("<{0}>{1}</{0}>", tag, Escape(cell));
    }
    html += "</tr>\n";
  }
  return html + "</table>\n";
}

constexpr char kStyle[] =
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem;background:Canvas;color:CanvasText}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "th,td{padding:.2rem .8rem;text-align:right;"
    "border-bottom:1px solid color-mix(in srgb,currentColor 25%,transparent)}"
    "pre{overflow-x:auto}svg{max-width:100%;height:auto}"
    ".layers{display:flex;flex-wrap:wrap;gap:1rem}.layers>div{flex:1 1 24rem}";

std::string Html(const StudyResults& results, const StudyTitle& title,
                 const OverlapReport& overlap) {
  Cells times = {{"stage", "seconds"}};
  for (const auto& [stage, seconds] : results.stage_seconds) {
    times.push_back({stage, fmt::format("{:.1f}", seconds)});
  }
  const json& text = results.text;
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\">"
      "<title>Width study: {0}</title><style>{1}</style></head><body>\n"
      "<h1>Width study: {0}</h1>\n",
      Escape(title.domain), kStyle);
  html += fmt::format(
      "<p>{} training tokens and {} held-out tokens of {}, {} tokens of {}. "
      "Log-loss in nats per held-out token. Retention is the share of the full "
      "expert's gain over the anchor that a narrower one keeps: {:.4f} &minus; "
      "loss, divided by {:.4f}.</p>\n",
      text.value("/text/train_tokens"_json_pointer, int64_t{0}),
      text.value("/text/heldout_tokens"_json_pointer, int64_t{0}),
      Escape(title.domain),
      text.value("/general_text/train_tokens"_json_pointer, int64_t{0}),
      Escape(title.general), results.anchor.mean,
      results.anchor.mean - results.full.mean);
  html += "<h2>Width against loss</h2>\n" + HtmlTable(StudyCells(results));
  html += RetentionPicture(results);
  html += "<h2>Training</h2>\n" + LossPicture(results);
  html += "<h2>Important channels in common</h2>\n" +
          OverlapSummaryPicture(overlap) + "<pre>" +
          Escape(OverlapTable(overlap)) + "</pre>\n<div class=\"layers\">\n";
  for (const StudyOverlap& layer : overlap.layers) {
    html += "<div>" + OverlapLayerPicture(overlap, layer) + "</div>\n";
  }
  html += "</div>\n<h2>Time</h2>\n" + HtmlTable(times) + "</body></html>\n";
  return html;
}

}  // namespace

json ToJson(const StudyResults& results) {
  json widths = json::array();
  for (const StudyRow& row : results.rows) {
    json value = {{"width", row.expert.width},
                  {"share", ShareOf(results, row.expert.width)},
                  {"channels_by", ChoiceName(row.expert.choice)},
                  {"pruned", LossJson(results, row.pruned)}};
    value["distilled"] =
        row.distilled ? LossJson(results, *row.distilled) : json(nullptr);
    widths.push_back(std::move(value));
  }
  json seconds;
  for (const auto& [stage, value] : results.stage_seconds) {
    seconds[stage] = value;
  }
  return {{"anchor_log_loss", results.anchor.mean},
          {"full_log_loss", results.full.mean},
          {"gain_standard_error", StandardError(results.anchor, results.full)},
          {"full_width", results.intermediate_size},
          {"heldout_tokens", results.anchor.tokens},
          {"widths", std::move(widths)},
          {"text", results.text},
          {"stage_seconds", std::move(seconds)}};
}

std::string StudyTable(const StudyResults& results) {
  std::string table = cli::FormatTable(StudyCells(results));
  if (!(results.anchor.mean > results.full.mean)) {
    table +=
        "\nThe full expert gains nothing on the held-out text: there is no "
        "retention to speak of. Give it more text or other settings.";
  }
  return table;
}

Status WriteStudyReport(const StudyResults& results, const StudyTitle& title,
                        const std::filesystem::path& folder) {
  const OverlapReport overlap = OverlapOfStudy(results, title);
  json value = ToJson(results);
  value["domain"] = title.domain;
  value["general"] = title.general;
  value["overlap"] = ToJson(overlap);
  RETURN_IF_ERROR(WriteFileAtomic(folder / "study.json", value.dump(2) + "\n"));
  RETURN_IF_ERROR(
      WriteFileAtomic(folder / "study.txt", StudyTable(results) + "\n"));
  RETURN_IF_ERROR(
      WriteFileAtomic(folder / "retention.svg", RetentionPicture(results)));
  RETURN_IF_ERROR(WriteFileAtomic(folder / "loss.svg", LossPicture(results)));
  RETURN_IF_ERROR(WriteOverlapReport(overlap, folder / "overlap"));
  return WriteFileAtomic(folder / "index.html", Html(results, title, overlap));
}

}  // namespace tributary::contributor
