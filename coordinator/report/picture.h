#pragma once

// Pictures as SVG without scripts, fonts or links. Inside a page they take its
// colours (the variables --ink, --accent, --accent-2 and --rule, currentColor
// where a page has none); as files they bring their own, light and dark.

#include <string>
#include <string_view>
#include <vector>

namespace tributary::coordinator {

// Text for HTML and XML; control characters become spaces.
std::string EscapeMarkup(std::string_view text);

// A table of numbers as shaded cells.
struct Heatmap {
  std::string title;        // also the accessible name
  std::string description;  // for readers who cannot see it
  std::vector<std::string> rows;
  std::vector<std::string> columns;
  std::string row_label;
  std::string column_label;
  std::vector<double> values;  // [rows * columns]
  double max = 1;              // the value of the strongest shade; above 0
  int digits = 2;              // of the numbers in the cells
};

// Bars side by side, one group for each label.
struct BarChart {
  std::string title;
  std::string description;
  std::vector<std::string> labels;
  std::vector<std::string> series;
  std::vector<double> values;  // [labels * series]
  std::string unit;
  int digits = 2;
};

enum class PictureUse { kInPage, kFile };

std::string ToSvg(const Heatmap& heatmap, PictureUse use);
std::string ToSvg(const BarChart& chart, PictureUse use);

}  // namespace tributary::coordinator
