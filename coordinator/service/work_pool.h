#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tributary::coordinator {

// The few threads that hash, write and fsync for streams, so that gRPC's own
// threads never wait for a disk. Tasks run in the order of submission.
class WorkPool {
 public:
  explicit WorkPool(int threads);
  // Runs what was submitted, then ends the threads.
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  // May be called from tasks. Tasks do not wait for other tasks.
  void Submit(std::function<void()> task);

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable ready_;
  // Guarded by mutex_.
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tributary::coordinator
