#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "tributary/config/coordinator.pb.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// Runs jobs; the real one starts tributary-contributor-worker, tests put a
// function in its place.
class WorkerRunner {
 public:
  using ProgressSink = std::function<void(const job::Progress&)>;

  virtual ~WorkerRunner() = default;
  // The worker's result; job.json and result.json lie in the job's output
  // directory afterwards. Errors as jobs::RunJob; CANCELLED when interrupted.
  virtual StatusOr<job::Result> Run(const job::Job& job,
                                    const ProgressSink& on_progress) = 0;
};

// A worker in a process of its own, in its sandbox.
struct ProcessWorkerOptions {
  config::WorkerLimits limits;
  // Its standard error goes here.
  std::filesystem::path log_file;
  // Set for tasks that read standard input and write standard output.
  bool inherit_streams = false;
  const CancellationToken* cancellation = nullptr;
};
// NOT_FOUND when there is no worker executable.
StatusOr<std::unique_ptr<WorkerRunner>> CreateProcessWorker(
    const ProcessWorkerOptions& options);

}  // namespace tributary::contributor
