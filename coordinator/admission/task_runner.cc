#include "coordinator/admission/task_runner.h"

#include <memory>
#include <utility>

#include "common/jobs/run_job.h"

namespace tributary::coordinator {

StatusOr<std::unique_ptr<WorkerTaskRunner>> WorkerTaskRunner::Create(
    const WorkerSettings& settings, const std::filesystem::path& log_file) {
  WorkerSettings resolved = settings;
  if (resolved.executable.empty()) {
    ASSIGN_OR_RETURN(resolved.executable,
                     jobs::SiblingExecutable("tributary-coordinator-worker"));
  }
  std::error_code error;
  if (!std::filesystem::exists(resolved.executable, error)) {
    return NotFound(
        "{}: no such worker; build it, or name it in worker.executable of "
        "coordinator.textproto",
        resolved.executable.string());
  }
  return std::unique_ptr<WorkerTaskRunner>(
      new WorkerTaskRunner(std::move(resolved), log_file));
}

StatusOr<job::Result> WorkerTaskRunner::Run(
    job::Job job, const ProgressFunction& progress,
    const CancellationToken& cancellation) {
  job.set_threads(settings_.threads);
  job.set_memory_limit_bytes(settings_.memory_limit_bytes);
  job.set_cpu_limit_s(settings_.cpu_limit_s);
  job.set_device(settings_.device);
  jobs::RunOptions options;
  options.executable = settings_.executable;
  options.lock_file = settings_.compute_lock_file;
  options.log_file = log_file_;
  options.cancellation = &cancellation;
  options.stall_limit_s = static_cast<double>(settings_.stall_limit_s);
  options.on_progress = [&](const job::Progress& line) {
    if (progress) {
      progress(line.fraction(), line.message());
    }
  };
  return jobs::RunJob(job, options);
}

StatusOr<job::TaskResult> SingleResult(const StatusOr<job::Result>& result) {
  RETURN_IF_ERROR(result.status());
  if (result->tasks_size() != 1) {
    return Internal("the worker returned {} task results, wanted 1",
                    result->tasks_size());
  }
  return result->tasks(0);
}

}  // namespace tributary::coordinator
