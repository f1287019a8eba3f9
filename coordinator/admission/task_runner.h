#pragma once

#include <filesystem>
#include <functional>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "coordinator/storage/settings.h"
#include "tributary/job/job.pb.h"

namespace tributary::coordinator {

// Called with a fraction from 0 to 1 and a text for a person.
using ProgressFunction = std::function<void(double, const std::string&)>;

// Runs jobs on tensors, so that everything else can be tested without them.
class TaskRunner {
 public:
  virtual ~TaskRunner() = default;
  // The result of `job`, whose limits and threads are filled in here. Errors
  // as jobs::RunJob.
  virtual StatusOr<job::Result> Run(job::Job job,
                                    const ProgressFunction& progress,
                                    const CancellationToken& cancellation) = 0;
};

// Runs them in the sandboxed worker process.
class WorkerTaskRunner final : public TaskRunner {
 public:
  // NOT_FOUND when the worker's executable is not there.
  static StatusOr<std::unique_ptr<WorkerTaskRunner>> Create(
      const WorkerSettings& settings, const std::filesystem::path& log_file);

  StatusOr<job::Result> Run(job::Job job, const ProgressFunction& progress,
                            const CancellationToken& cancellation) override;

 private:
  WorkerTaskRunner(WorkerSettings settings, std::filesystem::path log_file)
      : settings_(std::move(settings)), log_file_(std::move(log_file)) {}

  const WorkerSettings settings_;
  const std::filesystem::path log_file_;
};

// The only task result of a job with one task. INTERNAL when there is none.
StatusOr<job::TaskResult> SingleResult(const StatusOr<job::Result>& result);

}  // namespace tributary::coordinator
