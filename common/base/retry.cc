#include "common/base/retry.h"

#include <algorithm>
#include <cmath>

namespace tributary {

bool IsTransient(const Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsAborted(status);
}

double Backoff::NextDelaySeconds() {
  const double delay =
      std::min(options_.longest_seconds,
               options_.first_seconds * std::pow(options_.factor, attempt_));
  attempt_ = std::min(attempt_ + 1, 30);
  std::uniform_real_distribution<double> jitter(1.0 - options_.jitter,
                                                1.0 + options_.jitter);
  return delay * jitter(random_);
}

}  // namespace tributary
