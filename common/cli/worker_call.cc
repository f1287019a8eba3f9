#include "common/cli/worker_call.h"

#include <fcntl.h>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/cli/progress.h"

namespace tributary::cli {
namespace fs = std::filesystem;
namespace {

// Moves a file or folder to `target`, through a temporary name beside it when
// it lies on another file system.
Status Publish(const fs::path& source, const fs::path& target) {
  std::error_code error;
  if (target.has_parent_path()) {
    RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
  }
  fs::rename(source, target, error);
  if (!error) {
    return absl::OkStatus();
  }
  const fs::path temporary = target.string() + ".tmp-" + RandomUuid();
  error.clear();
  fs::copy(source, temporary, fs::copy_options::recursive, error);
  if (!error) {
    fs::rename(temporary, target, error);
  }
  if (error) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    return ErrnoStatus(error.value(), "write " + target.string());
  }
  return absl::OkStatus();
}

// How the task's folder begins: what is to be kept is written beside where it
// will be, so that it appears by a rename and never needs room twice.
StatusOr<std::string> PlaceFor(const WorkerCall& call) {
  if (call.output_file.empty()) {
    return std::string("tributary-job");
  }
  const fs::path output = fs::absolute(call.output_file);
  RETURN_IF_ERROR(MakeDirectories(output.parent_path()));
  return (output.parent_path() / ("." + output.filename().string() + ".job"))
      .string();
}

}  // namespace

StatusOr<fs::path> ExistingPath(const std::string& path,
                                const std::string& what) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  if (!fs::exists(absolute, error)) {
    return NotFound("{}: got '{}', which does not exist", what, path);
  }
  return absolute;
}

StatusOr<job::TaskResult> CallWorker(const WorkerCall& call,
                                     const CommandContext& context) {
  ASSIGN_OR_RETURN(const std::string place, PlaceFor(call));
  ASSIGN_OR_RETURN(const TemporaryDirectory folder,
                   TemporaryDirectory::Create(place));
  job::Job job;
  job.set_id(call.worker_name + "-" + RandomUuid().substr(0, 8));
  job.set_output_directory(folder.path().string());
  job.set_threads(call.threads);
  job.set_seed(call.seed);
  job.set_device(call.device);
  for (const fs::path& path : call.read_paths) {
    job.add_read_paths(path.string());
  }
  *job.add_tasks() = call.task;

  jobs::RunOptions options;
  ASSIGN_OR_RETURN(options.executable,
                   jobs::SiblingExecutable(call.worker_name));
  options.cancellation = &context.cancellation;
  options.streams = call.streams;
  options.log_file = folder.path() / "worker.log";
  ProgressBar bar(context.output);
  if (call.streams == jobs::RunOptions::StandardStreams::kClosed) {
    options.on_progress = [&bar](const job::Progress& progress) {
      bar.Update(progress.stage(), progress.fraction(), progress.message());
    };
  }
  ASSIGN_OR_RETURN(job::Result result, jobs::RunJob(job, options));
  if (result.tasks_size() != 1) {
    return Internal("worker: got {} task results, wanted 1",
                    result.tasks_size());
  }
  if (!call.output_file.empty()) {
    RETURN_IF_ERROR(
        Publish(folder.path() / call.output_name, call.output_file));
  }
  return std::move(*result.mutable_tasks(0));
}

}  // namespace tributary::cli
