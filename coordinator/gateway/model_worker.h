#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "tributary/job/inference.pb.h"
#include "tributary/job/job.pb.h"

namespace tributary::coordinator {

// The process that serves a model: started in its sandbox, started again when
// it ends unasked.
class ModelWorker {
 public:
  struct Options {
    std::filesystem::path executable;
    job::Job job;  // one model_serve task
    // Standard error of the worker (appended).
    std::filesystem::path log_file;
  };
  // Gets the events of one request in order, on a thread of the worker's; the
  // last is completion_end or error. Must not call back.
  using Listener = std::function<void(const job::InferenceEvent&)>;

  explicit ModelWorker(Options options);
  // Ends the process at once.
  ~ModelWorker();
  ModelWorker(const ModelWorker&) = delete;
  ModelWorker& operator=(const ModelWorker&) = delete;

  // Waits until the model is loaded. The status of the process when it ended
  // before; CANCELLED.
  Status WaitUntilReady(const CancellationToken& cancellation);

  // Hands a request over. UNAVAILABLE while the process does not run.
  StatusOr<uint64_t> Submit(const job::Completion& completion,
                            Listener listener);
  // Nothing comes for the request after this returns.
  void Cancel(uint64_t id);

  // Lets the process finish what it has, for at most this long, and end.
  void Stop(double seconds);

  struct Facts {
    bool ready = false;
    job::ModelReady model;  // of the newest start
    job::EngineState engine;
    int64_t restarts = 0;
    int pid = 0;  // 0: none runs
  };
  Facts facts() const;

 private:
  struct Channel;

  void Supervise();
  Status RunOnce();
  // Hands the events of a stream on until it ends.
  void ReadEvents(int fd);
  void HandOn(const job::InferenceEvent& event);
  void FailAll(const Status& status);

  const Options options_;
  CancellationToken kill_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  std::shared_ptr<Channel> channel_;
  std::map<uint64_t, std::shared_ptr<Listener>> listeners_;
  uint64_t next_id_ = 1;
  Facts facts_;
  bool stopping_ = false;
  bool ended_ = false;
  Status end_status_;
  // Held while an event is handed on.
  std::mutex handing_on_;
  std::thread supervisor_;
};

}  // namespace tributary::coordinator
