#include "common/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

namespace tributary::cli {
namespace {

constexpr int kBarCells = 24;

std::string Bar(double fraction) {
  const int full = static_cast<int>(fraction * kBarCells + 0.5);
  return "[" + std::string(static_cast<size_t>(full), '#') +
         std::string(static_cast<size_t>(kBarCells - full), '.') + "]";
}

}  // namespace

ProgressBar::ProgressBar(const Output& output)
    : enabled_(!output.json()), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (open_line_) {
    std::cerr << std::endl;
  }
}

void ProgressBar::Update(std::string_view stage, double fraction,
                         std::string_view message) {
  if (!enabled_) {
    return;
  }
  fraction = std::clamp(fraction, 0.0, 1.0);
  const bool new_stage = stage != stage_;
  if (new_stage) {
    if (open_line_) {
      std::cerr << '\n';
    }
    stage_ = stage;
    printed_tenth_ = -1;
    open_line_ = false;
  }
  if (terminal_) {
    std::cerr << fmt::format("\r\033[K{:<18} {} {:3.0f} %  {}", stage,
                             Bar(fraction), fraction * 100.0, message)
              << std::flush;
    open_line_ = fraction < 1.0;
    if (!open_line_) {
      std::cerr << '\n';
      stage_.clear();
    }
    return;
  }
  const int tenth = static_cast<int>(fraction * 10.0);
  if (tenth != printed_tenth_) {
    printed_tenth_ = tenth;
    std::cerr << fmt::format("{}: {:.0f} % {}", stage, fraction * 100.0,
                             message)
              << std::endl;
  }
}

}  // namespace tributary::cli
