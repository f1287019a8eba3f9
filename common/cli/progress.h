#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "common/cli/output.h"

namespace tributary::cli {

// Progress of long work on standard error: a bar that redraws itself on a
// terminal, a line for every stage and tenth elsewhere, nothing in JSON format.
class ProgressBar {
 public:
  explicit ProgressBar(const Output& output);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  // Ends an unfinished bar's line.
  ~ProgressBar();

  // `fraction` is 0 to 1 within `stage`.
  void Update(std::string_view stage, double fraction,
              std::string_view message);

 private:
  const bool enabled_;
  const bool terminal_;
  std::string stage_;
  int printed_tenth_ = -1;
  bool open_line_ = false;
};

}  // namespace tributary::cli
