#include "common/worker/worker_main.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <thread>

#include "common/base/clock.h"
#include "common/base/exit_code.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/jobs/job_file.h"
#include "common/jobs/sandbox.h"

namespace tributary::worker {
namespace {

constexpr double kReportIntervalSeconds = 0.2;

struct Arguments {
  std::string job_file;
  int progress_fd = STDERR_FILENO;
  bool no_sandbox = false;
};

class ProgressPipe {
 public:
  explicit ProgressPipe(int fd) : fd_(fd) {}

  void Send(const job::Progress& progress) const {
    const std::string line = jobs::FormatProgress(progress) + "\n";
    std::string_view rest = line;
    while (!rest.empty()) {
      const ssize_t written = write(fd_, rest.data(), rest.size());
      if (written <= 0) {
        return;  // nobody follows; the result file still tells
      }
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }

 private:
  const int fd_;
};

uint64_t PeakMemoryBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

Status Confine(const job::Job& job, bool no_sandbox,
               const ProgressPipe& progress) {
  job::Progress first;
  first.set_stage("sandbox");
  auto* report = first.mutable_sandbox();
  if (!no_sandbox) {
    jobs::SandboxOptions options;
    options.readable.assign(job.read_paths().begin(), job.read_paths().end());
    options.writable.assign(job.write_paths().begin(),
                            job.write_paths().end());
    options.writable.emplace_back(job.output_directory());
    ASSIGN_OR_RETURN(const jobs::SandboxState state,
                     jobs::EnterSandbox(options));
    report->set_landlock_abi(state.landlock_abi);
    report->set_seccomp(state.seccomp);
  }
  progress.Send(first);
  return absl::OkStatus();
}

Status ProbeTask(const job::Task& task, const TaskContext& context,
                 job::TaskResult* result) {
  const jobs::SandboxProbe probe = jobs::ProbeSandbox();
  auto* found = result->mutable_probe();
  found->set_inet_socket(probe.inet_socket);
  found->set_unix_socket(probe.unix_socket);
  found->set_execute(probe.execute);
  for (const std::string& path : task.probe().read_paths()) {
    found->add_readable(OpenFile(path, O_RDONLY).ok());
  }
  for (const std::string& path : task.probe().write_paths()) {
    found->add_writable(OpenFile(path, O_WRONLY | O_CREAT).ok());
  }
  return absl::OkStatus();
}

// Exceptions of third-party libraries end here.
Status RunGuarded(const TaskHandler& handler, const job::Task& task,
                  const TaskContext& context, job::TaskResult* result) {
  try {
    return handler(task, context, result);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted(
        "out of memory; lower the window or batch size, or raise the memory "
        "limit");
  } catch (const std::exception& error) {
    return Internal("{}", error.what());
  }
}

class JobRunner {
 public:
  JobRunner(const job::Job& job, const TaskRegistry& registry,
            const ProgressPipe& progress, const CancellationToken& cancellation)
      : job_(job),
        registry_(registry),
        progress_(progress),
        cancellation_(cancellation) {}

  job::Result Run() {
    job::Result result;
    for (int i = 0; i < job_.tasks_size(); ++i) {
      const std::string name = jobs::TaskName(job_.tasks(i));
      job::TaskResult task_result;
      Status status = RunTask(i, name, &task_result);
      if (status.ok()) {
        status = cancellation_.Check();
      }
      if (!status.ok()) {
        result.set_code(static_cast<int>(status.code()));
        result.set_message(name + ": " + std::string(status.message()));
        return result;
      }
      *result.add_tasks() = std::move(task_result);
    }
    return result;
  }

 private:
  Status RunTask(int index, const std::string& name, job::TaskResult* result) {
    const auto handler = registry_.find(job_.tasks(index).kind_case());
    if (handler == registry_.end()) {
      return Unimplemented("this worker has no task of this kind");
    }
    const double start = SystemClock().MonotonicSeconds();
    double last_report = 0.0;
    const auto report = [&](double fraction, std::string_view message) {
      const double now = SystemClock().MonotonicSeconds();
      if (fraction < 1.0 && now - last_report < kReportIntervalSeconds) {
        return;
      }
      last_report = now;
      job::Progress progress;
      progress.set_task(index);
      progress.set_stage(name);
      progress.set_fraction(std::clamp(fraction, 0.0, 1.0));
      progress.set_message(std::string(message));
      progress_.Send(progress);
    };
    const int threads =
        job_.threads() > 0
            ? job_.threads()
            : std::max(1,
                       static_cast<int>(std::thread::hardware_concurrency()));
    const TaskContext context(job_, threads, cancellation_, shared_, report);
    const Status status =
        RunGuarded(handler->second, job_.tasks(index), context, result);
    result->set_seconds(SystemClock().MonotonicSeconds() - start);
    result->set_peak_memory_bytes(PeakMemoryBytes());
    return status;
  }

  const job::Job& job_;
  const TaskRegistry& registry_;
  const ProgressPipe& progress_;
  const CancellationToken& cancellation_;
  std::any shared_;
};

int Finish(const job::Job& job, const job::Result& result) {
  const Status status = jobs::ResultStatus(result);
  if (!status.ok()) {
    log::Error("job {}: {}", job.id(), std::string(status.message()));
  }
  const Status written =
      jobs::WriteResult(result, std::filesystem::path(job.output_directory()) /
                                    jobs::kResultFileName);
  if (!written.ok()) {
    log::Error("job {}: {}", job.id(), std::string(written.message()));
    return static_cast<int>(ExitCodeFor(written));
  }
  return static_cast<int>(ExitCodeFor(status));
}

}  // namespace

int WorkerMain(int argc, char** argv, TaskRegistry registry) {
  Arguments arguments;
  CLI::App app(
      "Runs one tensor job. Front processes start it; by hand it is "
      "for looking closely.");
  app.add_option("--job", arguments.job_file, "The job file (JSON)")
      ->required();
  app.add_option("--progress-fd", arguments.progress_fd,
                 "File descriptor for progress lines (default: 2)");
  app.add_flag("--no-sandbox", arguments.no_sandbox,
               "Run unconfined, for a debugger; front processes refuse it");
  CLI11_PARSE(app, argc, argv);
  log::Configure({.component = "worker"});
  const CancellationToken& cancellation = InstallSignalCancellation();

  const StatusOr<job::Job> job = jobs::ReadJob(arguments.job_file);
  if (!job.ok()) {
    log::Error("{}", std::string(job.status().message()));
    return static_cast<int>(ExitCodeFor(job.status()));
  }
  const ProgressPipe progress(arguments.progress_fd);
  if (const Status confined = Confine(*job, arguments.no_sandbox, progress);
      !confined.ok()) {
    job::Result result;
    result.set_code(static_cast<int>(confined.code()));
    result.set_message(std::string(confined.message()));
    return Finish(*job, result);
  }
  registry[job::Task::kProbe] = ProbeTask;
  return Finish(*job, JobRunner(*job, registry, progress, cancellation).Run());
}

}  // namespace tributary::worker
