#pragma once

#include <atomic>

#include "common/base/status.h"

namespace tributary {

// A flag that long work polls. Setting it is safe in a signal handler.
class CancellationToken {
 public:
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool IsCancelled() const {
    return cancelled_.load(std::memory_order_relaxed);
  }
  // CANCELLED when the flag is set.
  Status Check() const {
    return IsCancelled() ? absl::CancelledError("interrupted")
                         : absl::OkStatus();
  }

 private:
  std::atomic<bool> cancelled_{false};
};

// A token that SIGINT and SIGTERM cancel: the first signal asks for a drain,
// the second ends the process at once with exit code 130.
CancellationToken& InstallSignalCancellation();

}  // namespace tributary
