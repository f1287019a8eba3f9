#include "contributor/pipeline/worker_runner.h"

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
    using Streams = jobs::RunOptions::StandardStreams;
    return jobs::RunJob(
        limited, {.executable = executable_,
                  .lock_file = options_.limits.compute_lock_file(),
                  .log_file = options_.log_file,
                  .on_progress = on_progress,
                  .cancellation = options_.cancellation,
                  .streams = options_.inherit_streams ? Streams::kInherited
                                                      : Streams::kClosed});
  }

 private:
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
