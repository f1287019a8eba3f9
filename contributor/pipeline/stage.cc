#include "contributor/pipeline/stage.h"

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/jobs/job_file.h"
#include "google/protobuf/util/json_util.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

constexpr char kInputKeyFile[] = "key";

// Paths below the pipeline stay the same when the home moves.
void ReplaceAll(std::string& text, const std::string& from,
                const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

std::string_view StageStateName(StageState state) {
  switch (state) {
    case StageState::kMissing:
      return "missing";
    case StageState::kIncomplete:
      return "incomplete";
    case StageState::kDone:
      return "done";
  }
  return "unknown";
}

StatusOr<std::string> StageStore::StoredKey(const std::string& stage) const {
  return ReadFile(Folder(stage) / kInputKeyFile, 256);
}

StatusOr<std::string> StageStore::Key(const Stage& stage) const {
  job::Job job = stage.job;
  job.clear_id();
  job.clear_output_directory();
  job.clear_threads();
  job.clear_memory_limit_bytes();
  job.clear_cpu_limit_s();
  job.clear_write_paths();
  for (job::Task& task : *job.mutable_tasks()) {
    if (task.has_prepare_text()) {
      // Where a cache lies changes nothing.
      task.mutable_prepare_text()->clear_token_cache_directory();
    }
  }
  std::string text;
  const auto printed = google::protobuf::util::MessageToJsonString(job, &text);
  if (!printed.ok()) {
    return Internal("stage {}: {}", stage.name, printed.ToString());
  }
  ReplaceAll(text, root_.string() + "/", "");
  for (const std::string& digest : stage.input_digests) {
    text += "\ninput " + digest;
  }
  for (const std::string& earlier : stage.after) {
    const StatusOr<std::string> key = StoredKey(earlier);
    if (!key.ok()) {
      return FailedPrecondition("stage {} needs stage {}, which has not run",
                                stage.name, earlier);
    }
    text += "\nafter " + earlier + " " + *key;
  }
  return crypto::Sha256Hex(text);
}

StatusOr<StageState> StageStore::State(const Stage& stage) const {
  const StatusOr<std::string> key = Key(stage);
  if (absl::IsFailedPrecondition(key.status())) {
    return StageState::kMissing;
  }
  RETURN_IF_ERROR(key.status());
  const StatusOr<std::string> stored = StoredKey(stage.name);
  if (!stored.ok() || *stored != *key) {
    return StageState::kMissing;
  }
  const fs::path folder = Folder(stage.name);
  const StatusOr<job::Result> result =
      jobs::ReadResult(folder / jobs::kResultFileName);
  if (!result.ok() || result->code() != 0) {
    return StageState::kIncomplete;
  }
  for (const std::string& output : stage.outputs) {
    if (!FileSize(folder / output).ok()) {
      return StageState::kIncomplete;
    }
  }
  return StageState::kDone;
}

StatusOr<job::Result> StageStore::Result(const Stage& stage) const {
  ASSIGN_OR_RETURN(const StageState state, State(stage));
  if (state != StageState::kDone) {
    return FailedPrecondition("stage {} is {}; run it first", stage.name,
                              StageStateName(state));
  }
  return jobs::ReadResult(Folder(stage.name) / jobs::kResultFileName);
}

StatusOr<job::Result> StageStore::Run(
    const Stage& stage, WorkerRunner& worker,
    const WorkerRunner::ProgressSink& on_progress) {
  ASSIGN_OR_RETURN(const StageState state, State(stage));
  const fs::path folder = Folder(stage.name);
  if (state == StageState::kDone) {
    return jobs::ReadResult(folder / jobs::kResultFileName);
  }
  ASSIGN_OR_RETURN(const std::string key, Key(stage));
  if (state == StageState::kMissing) {
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) {
      return ErrnoStatus(error.value(), "clear " + folder.string());
    }
    RETURN_IF_ERROR(MakeDirectories(folder));
    RETURN_IF_ERROR(WriteFileAtomic(folder / kInputKeyFile, key));
  }
  job::Job job = stage.job;
  job.set_output_directory(folder.string());
  for (const std::string& cache : job.write_paths()) {
    RETURN_IF_ERROR(MakeDirectories(cache));
  }
  ASSIGN_OR_RETURN(job::Result result, worker.Run(job, on_progress));
  for (const std::string& output : stage.outputs) {
    if (!FileSize(folder / output).ok()) {
      return Internal("stage {}: the worker said it was done but left no {}",
                      stage.name, (folder / output).string());
    }
  }
  return result;
}

}  // namespace tributary::contributor
