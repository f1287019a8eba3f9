#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "coordinator/admission/admission.h"
#include "coordinator/release/release_builder.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/withdrawal/withdrawal_job.h"

namespace tributary::coordinator {

// Runs the durable queue, one job at a time, on a thread of its own. Jobs that
// ran when a process died run again.
class JobRunner {
 public:
  JobRunner(const Core& core, TaskRunner& runner);
  // Stops.
  ~JobRunner();

  // Queues what was left running and starts the thread.
  Status Start();
  // Cancels the job that runs and ends the thread; the job stays queued.
  void Stop();
  // Looks at the queue now: call it after queueing.
  void Wake();
  // Cancels the running job when it works with this contribution, because that
  // was withdrawn.
  void Interrupt(const std::string& contribution);

  // Runs jobs that are due on the calling thread until none is left; for tests
  // and for use without Start.
  Status RunDue();

 private:
  struct Current {
    JobRow row;
    std::unique_ptr<CancellationToken> cancellation;
  };

  void Loop();
  // Runs the next job; false when none is due.
  StatusOr<bool> RunNext();
  // Records how a job ended that could not be recorded before.
  Status SettleLast();
  StatusOr<std::optional<int64_t>> Execute(const JobRow& row,
                                           const CancellationToken& token);
  Status Settle(const JobRow& row,
                const StatusOr<std::optional<int64_t>>& result);
  void Wait();

  const Core& core_;
  Admission admission_;
  ReleaseBuilder builder_;
  WithdrawalJob withdrawal_;

  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  bool stopping_ = false;
  bool woken_ = false;
  std::optional<Current> current_;

  // Of the job that ended last, while the database could not take it, as when
  // the disk is full. Used by the thread that runs jobs.
  struct Ended {
    JobRow row;
    StatusOr<std::optional<int64_t>> result;
  };
  std::optional<Ended> unsettled_;

  std::thread thread_;
};

}  // namespace tributary::coordinator
