#pragma once

#include <random>

#include "common/base/status.h"

namespace tributary {

// True for errors that the same request may not meet again: UNAVAILABLE,
// DEADLINE_EXCEEDED, ABORTED. Everything else stops at once.
bool IsTransient(const Status& status);

// Exponential backoff from 1 s to 60 s with 20 % jitter, reset by progress.
class Backoff {
 public:
  struct Options {
    double first_seconds = 1.0;
    double longest_seconds = 60.0;
    double factor = 2.0;
    double jitter = 0.2;
  };

  Backoff(const Options& options, unsigned seed)
      : options_(options), random_(seed) {}

  // The delay before the next attempt, in seconds.
  double NextDelaySeconds();
  // Call whenever something durable was achieved.
  void Reset() { attempt_ = 0; }
  int attempt() const { return attempt_; }

 private:
  const Options options_;
  std::mt19937 random_;
  int attempt_ = 0;
};

}  // namespace tributary
