#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "tributary/job/job.pb.h"

namespace tributary::jobs {

// How a worker is started and followed.
struct RunOptions {
  std::filesystem::path executable;
  // When set, workers that name the same file run one at a time.
  std::filesystem::path lock_file;
  // Standard error of the worker goes here (appended); empty: inherited.
  std::filesystem::path log_file;
  // Called for every progress line, on the calling thread.
  std::function<void(const job::Progress&)> on_progress;
  // When it is cancelled, the worker gets SIGTERM, then SIGKILL after 5 s.
  const CancellationToken* cancellation = nullptr;
  // Seconds without a progress line after which the worker is killed; 0: none.
  double stall_limit_s = 0;
  enum class StandardStreams {
    kClosed,     // standard input and output are /dev/null
    kInherited,  // for tasks that read or write text
    kGiven,      // input_fd and output_fd, for tasks that answer requests
  } streams = StandardStreams::kClosed;
  int input_fd = -1;
  int output_fd = -1;
  // Called when the process runs, with its id: the caller can close its copies
  // of what it gave.
  std::function<void(int pid)> on_start;
};

// Writes <output_directory>/job.json, runs the worker on it and returns its
// result. The worker must report its sandbox before anything else.
// CANCELLED: the token was cancelled. INTERNAL: the worker crashed; the
// message names the signal or exit code and the log. RESOURCE_EXHAUSTED: it
// met its memory or CPU limit. DEADLINE_EXCEEDED: it stalled.
// PERMISSION_DENIED: it ran unconfined and was stopped. Otherwise the status
// that the worker itself reported.
StatusOr<job::Result> RunJob(const job::Job& job, const RunOptions& options);

// <folder of this executable>/<name>.
StatusOr<std::filesystem::path> SiblingExecutable(std::string_view name);

}  // namespace tributary::jobs
