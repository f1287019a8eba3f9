#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status.h"

namespace tributary::config {

// Checks fields one after the other and keeps the first error.
class RangeChecker {
 public:
  // `what` begins every message.
  explicit RangeChecker(std::string what) : what_(std::move(what)) {}

  // An integer from `min` to `max`.
  void Integer(std::string_view field, int64_t value, int64_t min,
               int64_t max = std::numeric_limits<int64_t>::max()) {
    if (value < min || value > max) {
      Fail(field, fmt::format("{}", value),
           max == std::numeric_limits<int64_t>::max()
               ? fmt::format("{} or more", min)
               : fmt::format("{} to {}", min, max));
    }
  }

  // A finite number from `min` to `max`.
  void Number(std::string_view field, double value, double min, double max) {
    if (!(value >= min && value <= max)) {
      Fail(field, fmt::format("{}", value), fmt::format("{} to {}", min, max));
    }
  }

  // A finite number above 0.
  void Positive(std::string_view field, double value) {
    if (!(value > 0 && std::isfinite(value))) {
      Fail(field, fmt::format("{}", value), "a number above 0");
    }
  }

  void Require(bool ok, std::string_view field, std::string_view got,
               std::string_view wanted) {
    if (!ok) {
      Fail(field, fmt::format("\"{}\"", got), wanted);
    }
  }

  const Status& status() const { return first_error_; }

 private:
  void Fail(std::string_view field, std::string_view got,
            std::string_view wanted) {
    if (first_error_.ok()) {
      first_error_ = InvalidArgument("{}: {}: got {}, wanted {}", what_, field,
                                     got, wanted);
    }
  }

  const std::string what_;
  Status first_error_;
};

}  // namespace tributary::config
