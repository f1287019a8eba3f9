#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "tributary/job/inference.pb.h"

namespace tributary::coordinator {

// Reads requests from a descriptor on a thread of its own.
class RequestQueue {
 public:
  // The descriptor outlives the queue.
  explicit RequestQueue(int fd);
  ~RequestQueue();
  RequestQueue(const RequestQueue&) = delete;
  RequestQueue& operator=(const RequestQueue&) = delete;

  // What has come since the last call. With kWait it waits a moment for more
  // when there is nothing.
  enum class Mode { kPoll, kWait };
  std::vector<job::InferenceRequest> Take(Mode mode);
  // True when nothing can come any longer and everything was taken.
  bool AtEnd();
  // Why the stream ended early, or OK.
  Status status();

 private:
  void Read();

  const int fd_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<job::InferenceRequest> requests_;  // guarded by mutex_
  bool ended_ = false;                           // guarded by mutex_
  Status status_;                                // guarded by mutex_
  std::thread thread_;
};

}  // namespace tributary::coordinator
