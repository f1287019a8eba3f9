#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/cli/command_line.h"
#include "common/jobs/run_job.h"

namespace tributary::cli {

// One worker task run on behalf of a command, in a temporary folder.
struct WorkerCall {
  std::string worker_name;
  job::Task task;
  // What the task reads; made absolute.
  std::vector<std::filesystem::path> read_paths;
  int threads = 0;
  uint64_t seed = 0;
  std::string device;
  jobs::RunOptions::StandardStreams streams =
      jobs::RunOptions::StandardStreams::kClosed;
  // Where the file or folder `output_name` of the task is put; empty: there is
  // none.
  std::filesystem::path output_file;
  std::string output_name;
};

// Runs it with a progress bar and returns the task's result. The output
// appears whole or not at all.
StatusOr<job::TaskResult> CallWorker(const WorkerCall& call,
                                     const CommandContext& context);

// An absolute path that exists, or NOT_FOUND with `what` in the message.
StatusOr<std::filesystem::path> ExistingPath(const std::string& path,
                                             const std::string& what);

}  // namespace tributary::cli
