#pragma once

#include <grpcpp/client_context.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "common/base/cancellation.h"

namespace tributary::contributor {

// Ends a call when the token is cancelled, so that a signal does not wait for
// the other side.
class CallGuard {
 public:
  CallGuard(grpc::ClientContext& context, const CancellationToken* token) {
    if (token != nullptr) {
      thread_ = std::thread([this, &context, token] {
        while (!done_.load()) {
          if (token->IsCancelled()) {
            context.TryCancel();
            return;
          }
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
      });
    }
  }
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;
  ~CallGuard() {
    done_.store(true);
    if (thread_.joinable()) {
      thread_.join();
    }
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace tributary::contributor
