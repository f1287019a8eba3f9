#include "contributor/client/retry_call.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

namespace tributary::contributor {

Retrier::Retrier(const RetryOptions& options)
    : options_(options),
      backoff_(options.backoff, std::random_device{}()),
      last_progress_s_(Now()) {}

double Retrier::Now() const {
  return (options_.clock == nullptr ? SystemClock() : *options_.clock)
      .MonotonicSeconds();
}

void Retrier::Progressed() {
  backoff_.Reset();
  last_progress_s_ = Now();
}

Status Retrier::AfterFailure(const Status& failure) {
  if (options_.cancellation != nullptr) {
    RETURN_IF_ERROR(options_.cancellation->Check());
  }
  const Status status =
      absl::IsCancelled(failure)
          ? Unavailable("the coordinator ended the call ({}), as when it stops",
                        std::string(failure.message()))
          : failure;
  if (!IsTransient(status)) {
    return status;
  }
  if (options_.check) {
    RETURN_IF_ERROR(options_.check());
  }
  const double delay = backoff_.NextDelaySeconds();
  if (options_.give_up_after_s > 0 &&
      Now() + delay - last_progress_s_ > options_.give_up_after_s) {
    return status;
  }
  if (options_.on_wait) {
    options_.on_wait(status, delay);
  }
  Wait(delay);
  return options_.cancellation == nullptr ? absl::OkStatus()
                                          : options_.cancellation->Check();
}

void Retrier::Wait(double seconds) {
  if (options_.sleep) {
    options_.sleep(seconds);
    return;
  }
  const double end = Now() + seconds;
  while (Now() < end && (options_.cancellation == nullptr ||
                         !options_.cancellation->IsCancelled())) {
    const double rest = std::min(0.1, end - Now());
    std::this_thread::sleep_for(
        std::chrono::duration<double>(std::max(rest, 0.001)));
  }
}

}  // namespace tributary::contributor
