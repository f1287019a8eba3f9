#pragma once

#include "common/base/clock.h"

namespace tributary {

// A clock that stands still until it is told.
class TestClock : public Clock {
 public:
  explicit TestClock(double now_seconds = 1'900'000'000)
      : now_seconds_(now_seconds) {}
  double NowSeconds() const override { return now_seconds_; }
  double MonotonicSeconds() const override { return now_seconds_; }
  void Advance(double seconds) { now_seconds_ += seconds; }

 private:
  double now_seconds_;
};

}  // namespace tributary
