#include "coordinator/service/stream_steps.h"

namespace tributary::coordinator {

void StreamSteps::Keep() {
  const std::lock_guard<std::mutex> lock(mutex_);
  self_ = shared_from_this();
}

void StreamSteps::Release() {
  std::shared_ptr<StreamSteps> self;
  const std::lock_guard<std::mutex> lock(mutex_);
  self.swap(self_);
}

void StreamSteps::End(const Status& status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) {
      return;
    }
    if (!end_status_) {
      end_status_ = status;
    }
  }
  OnEnd();
  Schedule();
}

void StreamSteps::Schedule() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (working_ || finished_ || !HasWork()) {
      return;
    }
    working_ = true;
  }
  pool_.Submit([self = shared_from_this()] { self->Work(); });
}

void StreamSteps::Work() {
  std::optional<Status> end;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end = end_status_;
  }
  const std::optional<Status> result = end ? Stop(*end) : Step();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    working_ = false;
    finished_ = result.has_value();
  }
  if (result) {
    Conclude(*result);
  } else {
    // Other streams get their turn before the next step.
    Schedule();
  }
}

}  // namespace tributary::coordinator
