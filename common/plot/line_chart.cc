#include "common/plot/line_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "fmt/format.h"

namespace tributary::plot {
namespace {

constexpr double kLeft = 72;
constexpr double kRight = 20;
constexpr double kTop = 44;
constexpr double kBottom = 56;
constexpr double kLegendRow = 18;
constexpr double kLegendLine = 22;  // length of a sample of the line
constexpr double kLetter = 7;       // width of a letter, about
constexpr double kMarkRadius = 2.5;

// Readable on white and on black, and told apart by most colour-blind people.
constexpr std::string_view kColours[] = {"#3b82c4", "#d9822b", "#2f9e6e",
                                         "#c65b8f", "#8a7fd1", "#a8862a",
                                         "#4aa5b5", "#c0504d"};

std::string Escape(std::string_view text) {
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
        // Control characters are not allowed in XML.
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

bool Finite(const Point& point) {
  return std::isfinite(point.x) && std::isfinite(point.y);
}

// An axis: values [low, high] onto pixels [from, to].
struct Axis {
  double low = 0;
  double high = 1;
  double from = 0;
  double to = 1;
  std::vector<double> ticks;

  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

class Drawing {
 public:
  explicit Drawing(const LineChart& chart) : chart_(chart) { Scale(); }

  std::string Draw() {
    Open();
    Axes();
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      Line(chart_.series[i], Colour(i));
    }
    Legend();
    svg_ += "</svg>\n";
    return std::move(svg_);
  }

 private:
  static std::string_view Colour(size_t series) {
    return kColours[series % std::size(kColours)];
  }

  template <typename... Args>
  void Add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(svg_), format,
                   std::forward<Args>(args)...);
  }

  void Scale() {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    double low[2] = {kInfinity, kInfinity};
    double high[2] = {-kInfinity, -kInfinity};
    for (const Series& series : chart_.series) {
      for (const Point& point : series.points) {
        if (Finite(point)) {
          low[0] = std::min(low[0], point.x);
          high[0] = std::max(high[0], point.x);
          low[1] = std::min(low[1], point.y);
          high[1] = std::max(high[1], point.y);
        }
      }
    }
    for (const int axis : {0, 1}) {
      if (low[axis] > high[axis]) {
        low[axis] = 0;
        high[axis] = 1;
      }
      if (low[axis] == high[axis]) {
        const double space = std::max(0.5, std::abs(low[axis]) * 0.05);
        low[axis] -= space;
        high[axis] += space;
      }
    }
    x_ = {low[0], high[0], kLeft, chart_.width - kRight - LegendWidth(), {}};
    x_.ticks = Ticks(low[0], high[0], 8);
    std::erase_if(x_.ticks, [&](double tick) {
      return tick < low[0] - 1e-9 * std::abs(low[0]) ||
             tick > high[0] + 1e-9 * std::abs(high[0]);
    });
    const double bottom = chart_.y_min.value_or(low[1]);
    const double top = std::max(chart_.y_max.value_or(high[1]),
                                bottom + 1e-9 * (1 + std::abs(bottom)));
    y_.ticks = Ticks(bottom, top, 6);
    y_.low = chart_.y_min.value_or(std::min(bottom, y_.ticks.front()));
    y_.high = std::max(chart_.y_max.value_or(std::max(top, y_.ticks.back())),
                       y_.low + 1e-9 * (1 + std::abs(y_.low)));
    y_.from = chart_.height - kBottom;
    y_.to = kTop;
    std::erase_if(y_.ticks, [&](double tick) {
      const double slack = 1e-9 * (y_.high - y_.low);
      return tick < y_.low - slack || tick > y_.high + slack;
    });
  }

  void Open() {
    Add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" "
        "width=\"{0}\" height=\"{1}\" role=\"img\" "
        "font-family=\"system-ui, sans-serif\" font-size=\"12\">\n",
        chart_.width, chart_.height);
    Add("<title>{}</title>\n", Escape(chart_.title));
    svg_ +=
        "<style>:root{color:#1c2430}"
        "@media(prefers-color-scheme:dark){:root{color:#d8dee9}}"
        "text{fill:currentColor}"
        ".axis{stroke:currentColor;stroke-width:1}"
        ".grid{stroke:currentColor;stroke-width:1;opacity:.15}"
        ".line{fill:none;stroke-width:1.8;stroke-linejoin:round}</style>\n";
    Add("<text x=\"{:.1f}\" y=\"20\" font-size=\"15\" font-weight=\"600\">{}"
        "</text>\n",
        kLeft, Escape(chart_.title));
  }

  void Axes() {
    for (const double tick : y_.ticks) {
      Add("<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" "
          "y2=\"{2:.1f}\"/>",
          x_.from, x_.to, y_(tick));
      Add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.6g}</text>\n",
          kLeft - 8, y_(tick) + 4, Round(tick));
    }
    for (const double tick : x_.ticks) {
      Add("<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" "
          "y2=\"{2:.1f}\"/>",
          x_(tick), y_.from, y_.from + 5);
      Add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:.6g}"
          "</text>\n",
          x_(tick), y_.from + 19, Round(tick));
    }
    Add("<path class=\"axis\" fill=\"none\" d=\"M{0:.1f} {1:.1f}V{2:.1f}"
        "H{3:.1f}\"/>\n",
        x_.from, y_.to, y_.from, x_.to);
    Add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
        (x_.from + x_.to) / 2, chart_.height - 14.0, Escape(chart_.x_label));
    Add("<text transform=\"translate(18 {:.1f}) rotate(-90)\" "
        "text-anchor=\"middle\">{}</text>\n",
        (y_.from + y_.to) / 2, Escape(chart_.y_label));
  }

  // No "-0" and no rounding errors of multiples.
  static double Round(double value) {
    return std::abs(value) < 1e-12 ? 0 : value;
  }

  void Line(const Series& series, std::string_view colour) {
    std::string path;
    bool pen_down = false;
    for (const Point& point : series.points) {
      if (!Finite(point)) {
        pen_down = false;
        continue;
      }
      const double y = std::clamp(point.y, y_.low, y_.high);
      path += fmt::format("{}{:.1f} {:.1f}", pen_down ? 'L' : 'M', x_(point.x),
                          y_(y));
      pen_down = true;
      if (series.marks) {
        Add("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\"/>",
            x_(point.x), y_(y), kMarkRadius, colour);
      }
    }
    if (!path.empty()) {
      Add("<path class=\"line\" stroke=\"{}\" d=\"{}\"/>\n", colour, path);
    }
  }

  // At most half of the picture.
  double LegendWidth() const {
    size_t longest = 0;
    for (const Series& series : chart_.series) {
      longest = std::max(longest, series.name.size());
    }
    const double width =
        kLegendLine + 18 + kLetter * static_cast<double>(longest);
    return longest == 0 ? 0 : std::min(width, chart_.width / 2.0);
  }

  // Beside the axes, where no line runs through it.
  void Legend() {
    const double x = x_.to + 12;
    double y = kTop + 8;
    for (size_t i = 0; i < chart_.series.size(); ++i, y += kLegendRow) {
      Add("<line x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" "
          "stroke=\"{3}\" stroke-width=\"3\"/>",
          x, x + kLegendLine, y, Colour(i));
      Add("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x + kLegendLine + 6,
          y + 4, Escape(chart_.series[i].name));
    }
  }

  const LineChart& chart_;
  Axis x_;
  Axis y_;
  std::string svg_;
};

}  // namespace

std::vector<double> Ticks(double low, double high, int wanted) {
  const double range = std::max(high - low, 1e-12 * (1 + std::abs(low)));
  const double rough = range / std::max(wanted, 1);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  }
  const double first = std::floor(low / step + 1e-9);
  const double last = std::ceil(high / step - 1e-9);
  std::vector<double> ticks;
  for (double i = first; i <= last; ++i) {
    ticks.push_back(i * step);
  }
  return ticks;
}

std::string ToSvg(const LineChart& chart) { return Drawing(chart).Draw(); }

}  // namespace tributary::plot
