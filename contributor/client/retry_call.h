#pragma once

#include <functional>
#include <string>

#include "common/base/cancellation.h"
#include "common/base/clock.h"
#include "common/base/retry.h"
#include "common/base/status.h"

namespace tributary::contributor {

// How long to try again while the coordinator cannot be reached.
struct RetryOptions {
  // Seconds without progress after which a transient error is returned; 0
  // never gives up.
  double give_up_after_s = 5.0;
  Backoff::Options backoff;
  const CancellationToken* cancellation = nullptr;
  // Told before each wait: for a log line.
  std::function<void(const Status&, double delay_s)> on_wait;
  // Asked after a transient failure: an error is returned instead of it and
  // ends the attempts, such as a certificate that ended.
  std::function<Status()> check;
  // For tests: replaces sleeping. Returns early when cancelled.
  std::function<void(double seconds)> sleep;
  const Clock* clock = nullptr;  // null: the machine's
};

// Counts attempts of one piece of work.
class Retrier {
 public:
  explicit Retrier(const RetryOptions& options);

  // After a failed attempt: OK when the caller should try again (it has waited
  // by then), otherwise the error to return. Transient errors are UNAVAILABLE,
  // DEADLINE_EXCEEDED and ABORTED, and CANCELLED by the other side, unless
  // `check` has another. CANCELLED when interrupted.
  Status AfterFailure(const Status& failure);
  // Something durable was achieved: the delays start anew.
  void Progressed();

 private:
  void Wait(double seconds);
  double Now() const;

  const RetryOptions& options_;
  Backoff backoff_;
  double last_progress_s_;
};

}  // namespace tributary::contributor
