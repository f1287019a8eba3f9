#pragma once

#include <chrono>

namespace tributary {

// Wall and monotonic time, injected so that tests do not sleep.
class Clock {
 public:
  virtual ~Clock() = default;
  // Seconds since the Unix epoch.
  virtual double NowSeconds() const {
    return std::chrono::duration<double>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  virtual double MonotonicSeconds() const {
    return std::chrono::duration<double>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// The machine's clock.
inline const Clock& SystemClock() {
  static const Clock clock;
  return clock;
}

}  // namespace tributary
