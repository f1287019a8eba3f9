#include "coordinator/report/picture.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"

namespace tributary::coordinator {
namespace {

constexpr double kTitleHeight = 30;
constexpr double kCharacter = 7.4;  // of 12 px text, about
constexpr size_t kMaxLabel = 28;

constexpr std::string_view kOwnColours =
    "<style>svg{--ink:#1c2430;--accent:#2467a8;--accent-2:#c2641c;"
    "--rule:#c9d1da;--paper:#fff;color:var(--ink);background:var(--paper)}"
    "@media(prefers-color-scheme:dark){svg{--ink:#dfe6ee;--accent:#6db1ee;"
    "--accent-2:#f0a35e;--rule:#3a4552;--paper:#12161c}}</style>";

constexpr std::string_view kFills[] = {"var(--accent)", "var(--accent-2)",
                                       "var(--accent-3,#2f9e6e)",
                                       "var(--accent-4,#8a7fd1)"};

std::string Shortened(const std::string& text) {
  if (text.size() <= kMaxLabel) {
    return text;
  }
  size_t end = kMaxLabel - 1;  // not inside a character
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    --end;
  }
  return text.substr(0, end) + "…";
}

double LabelWidth(const std::vector<std::string>& labels) {
  size_t longest = 1;
  for (const std::string& label : labels) {
    longest = std::max(longest, std::min(label.size(), kMaxLabel));
  }
  return static_cast<double>(longest) * kCharacter;
}

std::string Open(double width, double height, const std::string& title,
                 const std::string& description, PictureUse use) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} "
      "{1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\" "
      "aria-label=\"{2}\" font-family=\"system-ui,sans-serif\" "
      "font-size=\"12\" fill=\"currentColor\">\n<title>{2}</title>"
      "<desc>{3}</desc>\n{4}<text x=\"0\" y=\"16\" font-size=\"14\" "
      "font-weight=\"600\">{2}</text>\n",
      width, height, EscapeMarkup(title), EscapeMarkup(description),
      use == PictureUse::kFile ? kOwnColours : "");
}

std::string Text(double x, double y, std::string_view anchor,
                 const std::string& text, std::string_view more = "") {
  return fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>", x, y,
      anchor, more, EscapeMarkup(text));
}

double Finite(double value) { return std::isfinite(value) ? value : 0; }

}  // namespace

std::string EscapeMarkup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return out;
}

std::string ToSvg(const Heatmap& heatmap, PictureUse use) {
  const size_t columns = heatmap.columns.size();
  const size_t rows = heatmap.rows.size();
  // Numbers where there is room for them, else shades alone.
  const bool numbers = columns <= 16;
  const double cell_width =
      numbers ? std::max(46.0, LabelWidth(heatmap.columns) + 10)
              : std::clamp(900.0 / static_cast<double>(columns), 2.0, 22.0);
  const double cell_height = rows <= 48 ? 22 : 8;
  const double left = std::max(40.0, LabelWidth(heatmap.rows) + 12);
  const double top = kTitleHeight + 34;
  const double width =
      std::max(left + cell_width * static_cast<double>(columns) + 8, 340.0);
  const double height = top + cell_height * static_cast<double>(rows) + 8;
  std::string svg =
      Open(width, height, heatmap.title, heatmap.description, use);
  svg +=
      Text(left, kTitleHeight + 12, "start",
           heatmap.row_label + " × " + heatmap.column_label, " opacity=\".7\"");
  const auto column_step = static_cast<size_t>(
      std::max(1.0, std::ceil((numbers ? 1 : 30) / cell_width)));
  for (size_t c = 0; c < columns; c += numbers ? 1 : column_step) {
    svg += Text(left + (static_cast<double>(c) + 0.5) * cell_width, top - 6,
                "middle", Shortened(heatmap.columns[c]));
  }
  const auto row_step =
      static_cast<size_t>(std::max(1.0, std::ceil(14 / cell_height)));
  for (size_t r = 0; r < rows; ++r) {
    const double y = top + static_cast<double>(r) * cell_height;
    if (r % row_step == 0) {
      svg += Text(left - 8, y + std::min(cell_height, 16.0) - 1, "end",
                  Shortened(heatmap.rows[r]));
    }
    for (size_t c = 0; c < columns; ++c) {
      const double value = Finite(heatmap.values[r * columns + c]);
      const double shade = std::clamp(value / heatmap.max, 0.0, 1.0);
      const double x = left + static_cast<double>(c) * cell_width;
      svg += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
          "fill=\"var(--accent)\" fill-opacity=\"{:.3f}\" "
          "stroke=\"var(--rule)\" stroke-width=\".5\"><title>{}, {}: "
          "{:.{}f}</title></rect>",
          x, y, cell_width, cell_height, shade * 0.85,
          EscapeMarkup(heatmap.rows[r]), EscapeMarkup(heatmap.columns[c]),
          value, heatmap.digits);
      if (numbers && cell_height >= 16) {
        svg += Text(x + cell_width / 2, y + 15, "middle",
                    fmt::format("{:.{}f}", value, heatmap.digits),
                    shade > 0.6 ? " fill=\"var(--paper,#fff)\"" : "");
      }
    }
    svg += '\n';
  }
  return svg + "</svg>\n";
}

std::string ToSvg(const BarChart& chart, PictureUse use) {
  constexpr double kRow = 16;
  constexpr double kGap = 10;
  constexpr double kBars = 420;
  const size_t series = chart.series.size();
  const double left = LabelWidth(chart.labels) + 12;
  const double legend = series > 1 ? 22 : 0;
  const double group = static_cast<double>(series) * kRow + kGap;
  const double top = kTitleHeight + legend + 4;
  const double width = left + kBars + 90;
  const double height =
      top + group * static_cast<double>(chart.labels.size()) + 6;
  double max = 0;
  for (const double value : chart.values) {
    max = std::max(max, Finite(value));
  }
  std::string svg = Open(width, height, chart.title, chart.description, use);
  double x = left;
  for (size_t s = 0; s < series && series > 1; ++s) {
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"11\" height=\"11\" "
        "fill=\"{}\"/>",
        x, kTitleHeight, kFills[s % std::size(kFills)]);
    svg += Text(x + 16, kTitleHeight + 10, "start", Shortened(chart.series[s]));
    x += 30 +
         static_cast<double>(Shortened(chart.series[s]).size()) * kCharacter;
  }
  for (size_t i = 0; i < chart.labels.size(); ++i) {
    const double y = top + static_cast<double>(i) * group;
    svg += Text(left - 8, y + static_cast<double>(series) * kRow / 2 + 4, "end",
                Shortened(chart.labels[i]));
    for (size_t s = 0; s < series; ++s) {
      const double value = Finite(chart.values[i * series + s]);
      const double length = max > 0 ? std::max(value, 0.0) / max * kBars : 0;
      const double bar = y + static_cast<double>(s) * kRow;
      svg += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
          "fill=\"{}\"><title>{}, {}: {:.{}f}{}</title></rect>",
          left, bar, length, kRow - 3, kFills[s % std::size(kFills)],
          EscapeMarkup(chart.labels[i]), EscapeMarkup(chart.series[s]), value,
          chart.digits, EscapeMarkup(chart.unit));
      svg += Text(left + length + 6, bar + 11, "start",
                  fmt::format("{:.{}f}{}", value, chart.digits, chart.unit));
    }
    svg += '\n';
  }
  return svg + "</svg>\n";
}

}  // namespace tributary::coordinator
