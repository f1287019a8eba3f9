#include "contributor/pipeline/worker_runner.h"

#include <chrono>
#include <optional>
#include <thread>

#include "common/base/files.h"
#include "common/jobs/job_file.h"
#include "common/jobs/run_job.h"

namespace tributary::contributor {
namespace {

class ProcessWorker : public WorkerRunner {
 public:
  ProcessWorker(ProcessWorkerOptions options, std::filesystem::path executable)
      : options_(std::move(options)), executable_(std::move(executable)) {}

  StatusOr<job::Result> Run(const job::Job& job,
                            const ProgressSink& on_progress) override {
    job::Job limited = job;
    limited.set_threads(options_.limits.threads());
    limited.set_memory_limit_bytes(options_.limits.memory_limit_bytes());
    limited.set_cpu_limit_s(options_.limits.cpu_limit_s());
    if (limited.device().empty()) {
      limited.set_device(options_.limits.device());
    }
    using Streams = jobs::RunOptions::StandardStreams;
    std::optional<FileLock> turn;
    if (!options_.limits.compute_lock_file().empty()) {
      ASSIGN_OR_RETURN(FileLock lock, WaitForTurn(job, on_progress));
      turn.emplace(std::move(lock));
    }
    return jobs::RunJob(
        limited,
        {.executable = executable_,
         .log_file = options_.log_file,
         .on_progress = on_progress,
         .cancellation = options_.cancellation,
         .stall_limit_s = static_cast<double>(options_.limits.stall_limit_s()),
         .streams = options_.inherit_streams ? Streams::kInherited
                                             : Streams::kClosed});
  }

 private:
  // Workers that share a lock file run one at a time; an interrupted command
  // does not wait for the others.
  StatusOr<FileLock> WaitForTurn(const job::Job& job,
                                 const ProgressSink& on_progress) const {
    bool told = false;
    while (true) {
      StatusOr<FileLock> lock =
          FileLock::TryAcquire(options_.limits.compute_lock_file());
      if (lock.ok() || !absl::IsFailedPrecondition(lock.status())) {
        return lock;
      }
      if (!told && on_progress) {
        job::Progress waiting;
        if (!job.tasks().empty()) {
          waiting.set_stage(jobs::TaskName(job.tasks(0)));
        }
        waiting.set_message("waiting for another worker on this machine");
        on_progress(waiting);
        told = true;
      }
      if (options_.cancellation != nullptr) {
        RETURN_IF_ERROR(options_.cancellation->Check());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  const ProcessWorkerOptions options_;
  const std::filesystem::path executable_;
};

}  // namespace

StatusOr<std::unique_ptr<WorkerRunner>> CreateProcessWorker(
    const ProcessWorkerOptions& options) {
  std::filesystem::path executable = options.limits.executable();
  if (executable.empty()) {
    ASSIGN_OR_RETURN(executable,
                     jobs::SiblingExecutable("tributary-contributor-worker"));
  }
  return std::unique_ptr<WorkerRunner>(
      std::make_unique<ProcessWorker>(options, std::move(executable)));
}

}  // namespace tributary::contributor
