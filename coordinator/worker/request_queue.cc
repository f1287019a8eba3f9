#include "coordinator/worker/request_queue.h"

#include <chrono>
#include <utility>

#include "common/jobs/frame_pipe.h"

namespace tributary::coordinator {
namespace {

constexpr std::chrono::milliseconds kWait(100);

}  // namespace

RequestQueue::RequestQueue(int fd) : fd_(fd), thread_([this] { Read(); }) {}

RequestQueue::~RequestQueue() {
  stop_ = true;
  thread_.join();
}

void RequestQueue::Read() {
  jobs::FrameReader reader(fd_);
  Status status;
  while (status.ok()) {
    StatusOr<std::optional<std::string>> frame = reader.Next(&stop_);
    if (!frame.ok() || !frame->has_value()) {
      status = frame.status();
      break;
    }
    job::InferenceRequest request;
    if (!request.ParseFromString(**frame)) {
      status = InvalidArgument("a frame on standard input is no request");
      break;
    }
    const std::lock_guard lock(mutex_);
    requests_.push_back(std::move(request));
    changed_.notify_one();
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  status_ = status;
  changed_.notify_one();
}

std::vector<job::InferenceRequest> RequestQueue::Take(Mode mode) {
  std::unique_lock lock(mutex_);
  if (mode == Mode::kWait) {
    changed_.wait_for(lock, kWait,
                      [this] { return ended_ || !requests_.empty(); });
  }
  return std::exchange(requests_, {});
}

bool RequestQueue::AtEnd() {
  const std::lock_guard lock(mutex_);
  return ended_ && requests_.empty();
}

Status RequestQueue::status() {
  const std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace tributary::coordinator
