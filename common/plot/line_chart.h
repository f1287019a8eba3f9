#pragma once

// Line charts as self-contained SVG pictures: no scripts, no fonts, no links.
// Text and axes take the colour of the page they are put in (currentColor);
// on their own they follow the reader's light or dark preference.

#include <optional>
#include <string>
#include <vector>

namespace tributary::plot {

struct Point {
  double x = 0;
  double y = 0;
};

struct Series {
  std::string name;
  // Drawn in this order. Points that are not finite interrupt the line.
  std::vector<Point> points;
  // Draws a mark at every point beside the line.
  bool marks = false;
};

struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  // A series without points is named in the legend all the same. Eight colours
  // take turns.
  std::vector<Series> series;
  int width = 720;  // pixels of the view box
  int height = 420;
  // Ends of the y axis; by default what the points need, rounded outwards.
  std::optional<double> y_min;
  std::optional<double> y_max;
};

// The picture, UTF-8. Text is escaped; a function of its argument alone.
std::string ToSvg(const LineChart& chart);

// Positions of at most about `wanted` ticks at round numbers (1, 2 or 5 times a
// power of ten) that cover [low, high], ascending. low <= high, both finite.
std::vector<double> Ticks(double low, double high, int wanted);

}  // namespace tributary::plot
