#pragma once

// The main function that both workers share: one job file in, progress lines
// and a result file out, confined before any input is opened.

#include <any>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "tributary/job/job.pb.h"

namespace tributary::worker {

// What a task may use.
class TaskContext {
 public:
  using ReportFunction = std::function<void(double, std::string_view)>;

  TaskContext(const job::Job& job, int threads,
              const CancellationToken& cancellation, std::any& shared,
              ReportFunction report)
      : job(job),
        output_directory(job.output_directory()),
        threads(threads),
        seed(job.seed()),
        device(job.device().empty() ? "cpu" : job.device()),
        cancellation(cancellation),
        shared(shared),
        report_(std::move(report)) {}

  // Sends a progress line; at most a few a second are passed on.
  // `fraction` is 0 to 1 within the task.
  void Report(double fraction, std::string_view message) const {
    report_(fraction, message);
  }
  // Report as a function, for options that take one; this context must outlive
  // it.
  auto reporter() const {
    return [this](double fraction, const std::string& message) {
      Report(fraction, message);
    };
  }

  const job::Job& job;
  const std::filesystem::path output_directory;
  const int threads;
  const uint64_t seed;
  const std::string device;
  const CancellationToken& cancellation;
  // Whatever the tasks of one job share, such as a loaded model.
  std::any& shared;

 private:
  const ReportFunction report_;
};

// Runs one task and fills its result message.
using TaskHandler = std::function<Status(const job::Task&, const TaskContext&,
                                         job::TaskResult*)>;
using TaskRegistry = std::map<job::Task::KindCase, TaskHandler>;

// Parses `--job FILE [--progress-fd N] [--no-sandbox]`, enters the sandbox,
// runs the tasks in order, writes result.json. Without --progress-fd progress
// goes to standard error. --no-sandbox is for a debugger: a front process
// refuses such a worker. Returns the exit code.
int WorkerMain(int argc, char** argv, TaskRegistry registry);

}  // namespace tributary::worker
