#include "common/jobs/run_job.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/jobs/job_file.h"
#include "common/jobs/pipe.h"

namespace tributary::jobs {
namespace fs = std::filesystem;
namespace {

constexpr int kProgressFd = 3;
constexpr double kKillAfterSeconds = 5.0;
constexpr useconds_t kEndPollMicroseconds = 2000;
constexpr size_t kMaxProgressLineBytes = 1 << 20;

// Everything the child needs, prepared before fork: between fork and exec only
// async-signal-safe calls are made.
struct ChildSetup {
  std::vector<std::string> arguments;
  std::vector<char*> argv;
  std::vector<std::string> variables;
  std::vector<char*> environment;
  int progress_fd = -1;
  int log_fd = -1;
  // In the place of standard input and output; -1: this process's own.
  int input_fd = -1;
  int output_fd = -1;
  rlim_t address_space = RLIM_INFINITY;
  rlim_t cpu_seconds = RLIM_INFINITY;
  pid_t parent = 0;
};

void SetLimit(int resource, rlim_t value) {
  if (value != RLIM_INFINITY) {
    const rlimit limit = {.rlim_cur = value, .rlim_max = value};
    setrlimit(static_cast<__rlimit_resource>(resource), &limit);
  }
}

[[noreturn]] void ExecChild(const ChildSetup& setup, const char* executable) {
  setpgid(0, 0);  // signals of a terminal go to the front process only
  // A front process that dies takes its worker with it; the job runs again.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != setup.parent) {
    _exit(126);
  }
  if (setup.input_fd >= 0) {
    dup2(setup.input_fd, STDIN_FILENO);
    dup2(setup.output_fd, STDOUT_FILENO);
  }
  if (setup.log_fd >= 0) {
    dup2(setup.log_fd, STDERR_FILENO);
  }
  if (setup.progress_fd == kProgressFd) {
    fcntl(kProgressFd, F_SETFD, 0);
  } else {
    dup2(setup.progress_fd, kProgressFd);
  }
  const rlimit no_core = {.rlim_cur = 0, .rlim_max = 0};
  setrlimit(RLIMIT_CORE, &no_core);
  SetLimit(RLIMIT_AS, setup.address_space);
  SetLimit(RLIMIT_CPU, setup.cpu_seconds);
  signal(SIGPIPE, SIG_DFL);
  execve(executable, setup.argv.data(), setup.environment.data());
  _exit(127);
}

// This process's environment, and a short time that idle compute threads spin
// for new work: their library's default lets them take a busy machine's cores
// from the threads they wait for.
void PrepareEnvironment(ChildSetup& setup) {
  for (char** variable = environ; *variable != nullptr; ++variable) {
    setup.variables.emplace_back(*variable);
  }
  if (getenv("GOMP_SPINCOUNT") == nullptr &&
      getenv("OMP_WAIT_POLICY") == nullptr) {
    setup.variables.emplace_back("GOMP_SPINCOUNT=10000");
  }
  for (std::string& variable : setup.variables) {
    setup.environment.push_back(variable.data());
  }
  setup.environment.push_back(nullptr);
}

class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (!status_) {
      kill(pid_, SIGKILL);
      Wait();
    }
  }
  void Signal(int number) const { kill(pid_, number); }
  int Wait() {
    int status = 0;
    while (!status_ && waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    if (!status_) {
      status_ = status;
    }
    return *status_;
  }
  // The same, but kills the process after this many seconds; 0: never.
  int WaitAtMost(double seconds) {
    const double end = SystemClock().MonotonicSeconds() + seconds;
    int status = 0;
    while (seconds > 0 && !status_ && SystemClock().MonotonicSeconds() < end) {
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        status_ = status;
      } else {
        usleep(kEndPollMicroseconds);
      }
    }
    if (seconds > 0 && !status_) {
      Signal(SIGKILL);
    }
    return Wait();
  }

 private:
  const pid_t pid_;
  std::optional<int> status_;
};

std::string Ending(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("was ended by signal {}", WTERMSIG(status));
  }
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

Status CrashStatus(int status, const RunOptions& options,
                   const std::string& id) {
  const std::string where =
      options.log_file.empty() ? "" : "; its log: " + options.log_file.string();
  if (WIFSIGNALED(status) &&
      (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL)) {
    return ResourceExhausted(
        "job {}: the worker {} before it gave a result: out of memory, beyond "
        "a limit, or killed{}",
        id, Ending(status), where);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return FailedPrecondition("job {}: cannot start the worker {}", id,
                              options.executable.string());
  }
  return Internal("job {}: the worker {} before it gave a result{}", id,
                  Ending(status), where);
}

// Follows the pipe until the worker closes it.
class Follower {
 public:
  Follower(const FileDescriptor& pipe, const RunOptions& options, Child& child)
      : pipe_(pipe), options_(options), child_(child) {}

  Status Follow() {
    while (true) {
      CheckCancellation();
      pollfd poll_fd = {.fd = pipe_.get(), .events = POLLIN, .revents = 0};
      const int ready = poll(&poll_fd, 1, 100);
      if (ready <= 0) {
        RETURN_IF_ERROR(CheckStall());
        continue;
      }
      last_word_s_ = SystemClock().MonotonicSeconds();
      std::array<char, 65536> buffer;
      const ssize_t got = read(pipe_.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got <= 0) {
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(
          Consume(std::string_view(buffer.data(), static_cast<size_t>(got))));
    }
  }

  bool cancelled() const { return cancelled_at_.has_value(); }
  bool confined() const { return confined_; }

 private:
  void CheckCancellation() {
    if (options_.cancellation == nullptr ||
        !options_.cancellation->IsCancelled()) {
      return;
    }
    const double now = SystemClock().MonotonicSeconds();
    if (!cancelled_at_) {
      cancelled_at_ = now;
      child_.Signal(SIGTERM);
    } else if (now - *cancelled_at_ > kKillAfterSeconds) {
      child_.Signal(SIGKILL);
    }
  }

  Status CheckStall() const {
    if (options_.stall_limit_s > 0 &&
        SystemClock().MonotonicSeconds() - last_word_s_ >
            options_.stall_limit_s) {
      return DeadlineExceeded(
          "the worker reported nothing for {:.0f} s and was ended",
          options_.stall_limit_s);
    }
    return absl::OkStatus();
  }

  Status Consume(std::string_view bytes) {
    partial_ += bytes;
    size_t newline = 0;
    while ((newline = partial_.find('\n')) != std::string::npos) {
      const std::string line = partial_.substr(0, newline);
      partial_.erase(0, newline + 1);
      ASSIGN_OR_RETURN(const job::Progress progress, ParseProgress(line));
      RETURN_IF_ERROR(Handle(progress));
    }
    if (partial_.size() > kMaxProgressLineBytes) {
      return Internal("the worker sent a progress line of more than {} bytes",
                      kMaxProgressLineBytes);
    }
    return absl::OkStatus();
  }

  Status Handle(const job::Progress& progress) {
    if (progress.has_sandbox()) {
      confined_ =
          progress.sandbox().landlock_abi() > 0 && progress.sandbox().seccomp();
    }
    if (!confined_) {
      return PermissionDenied(
          "the worker reported no sandbox (Landlock ABI {}, seccomp {}); it "
          "was stopped before it could read anything",
          progress.sandbox().landlock_abi(), progress.sandbox().seccomp());
    }
    if (options_.on_progress && !progress.has_sandbox()) {
      options_.on_progress(progress);
    }
    return absl::OkStatus();
  }

  const FileDescriptor& pipe_;
  const RunOptions& options_;
  Child& child_;
  std::string partial_;
  double last_word_s_ = SystemClock().MonotonicSeconds();
  std::optional<double> cancelled_at_;
  bool confined_ = false;
};

// Starts the worker; `setup` outlives the call.
StatusOr<pid_t> Start(const ChildSetup& setup, const std::string& executable) {
  const pid_t pid = fork();
  if (pid < 0) {
    return ErrnoStatus(errno, "fork");
  }
  if (pid == 0) {
    ExecChild(setup, executable.c_str());
  }
  return pid;
}

}  // namespace

StatusOr<job::Result> RunJob(const job::Job& job, const RunOptions& options) {
  const fs::path folder = job.output_directory();
  if (!folder.is_absolute()) {
    return InvalidArgument(
        "job {}: output_directory: got '{}', wanted an "
        "absolute path",
        job.id(), folder.string());
  }
  std::optional<FileLock> lock;
  if (!options.lock_file.empty()) {
    ASSIGN_OR_RETURN(FileLock held, FileLock::Acquire(options.lock_file));
    lock.emplace(std::move(held));
  }
  RETURN_IF_ERROR(MakeDirectories(folder));
  const fs::path job_file = folder / kJobFileName;
  const fs::path result_file = folder / kResultFileName;
  RETURN_IF_ERROR(WriteJob(job, job_file));
  std::error_code ignored;
  fs::remove(result_file, ignored);

  ChildSetup setup;
  setup.arguments = {options.executable.string(), "--job", job_file.string(),
                     "--progress-fd", std::to_string(kProgressFd)};
  for (std::string& argument : setup.arguments) {
    setup.argv.push_back(argument.data());
  }
  setup.argv.push_back(nullptr);
  PrepareEnvironment(setup);
  ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
  ASSIGN_OR_RETURN(const FileDescriptor null, OpenFile("/dev/null", O_RDWR));
  FileDescriptor log;
  if (!options.log_file.empty()) {
    ASSIGN_OR_RETURN(log,
                     OpenFile(options.log_file, O_WRONLY | O_CREAT | O_APPEND));
  }
  setup.parent = getpid();
  setup.progress_fd = pipe.write_end.get();
  setup.log_fd = log.get();
  if (options.streams == RunOptions::StandardStreams::kGiven) {
    setup.input_fd = options.input_fd;
    setup.output_fd = options.output_fd;
  } else if (options.streams == RunOptions::StandardStreams::kClosed) {
    setup.input_fd = setup.output_fd = null.get();
  }
  if (job.memory_limit_bytes() > 0) {
    setup.address_space = job.memory_limit_bytes();
  }
  if (job.cpu_limit_s() > 0) {
    setup.cpu_seconds = job.cpu_limit_s();
  }
  ASSIGN_OR_RETURN(const pid_t pid, Start(setup, setup.arguments.front()));
  Child child(pid);
  pipe.write_end = FileDescriptor();
  if (options.on_start) {
    options.on_start(pid);
  }

  Follower follower(pipe.read_end, options, child);
  if (Status followed = follower.Follow(); !followed.ok()) {
    child.Signal(SIGKILL);
    child.Wait();
    return Annotate(followed, "job " + job.id());
  }
  // It has closed its pipe and has nothing more to say.
  const int status = child.WaitAtMost(options.stall_limit_s);
  if (follower.cancelled()) {
    return Cancelled("job {}: interrupted", job.id());
  }
  const StatusOr<job::Result> result = ReadResult(result_file);
  if (!result.ok()) {
    return CrashStatus(status, options, job.id());
  }
  RETURN_IF_ERROR(ResultStatus(*result));
  if (!follower.confined()) {
    return PermissionDenied("job {}: the worker never reported its sandbox",
                            job.id());
  }
  return result;
}

StatusOr<fs::path> SiblingExecutable(std::string_view name) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) {
    return ErrnoStatus(error.value(), "read /proc/self/exe");
  }
  const fs::path sibling = self.parent_path() / name;
  if (access(sibling.c_str(), X_OK) != 0) {
    return NotFound("{}: not there or not executable; it belongs beside {}",
                    sibling.string(), self.filename().string());
  }
  return sibling;
}

}  // namespace tributary::jobs
