#pragma once

// A stage is one worker job with a folder of its own. Done once, it is not run
// again while its key stays the same; killed, it is run again in the same
// folder, where the worker finds its checkpoint.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "contributor/pipeline/worker_runner.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// What a stage runs and on what.
struct Stage {
  // Folder name, and the name of its command.
  std::string name;
  // Tasks, read_paths, seed; the output directory is set by StageStore.
  job::Job job;
  // Names of earlier stages whose outputs it reads.
  std::vector<std::string> after;
  // Digests or fingerprints of other inputs, in a fixed order.
  std::vector<std::string> input_digests;
  // Files that a finished stage has left in its folder.
  std::vector<std::string> outputs;
};

enum class StageState {
  kMissing,     // never started, or its inputs have changed since
  kIncomplete,  // started; killed, failed or an output is gone
  kDone,
};
std::string_view StageStateName(StageState state);

// Folders of the stages of one contribution.
class StageStore {
 public:
  explicit StageStore(std::filesystem::path root) : root_(std::move(root)) {}

  std::filesystem::path Folder(const std::string& stage) const {
    return root_ / stage;
  }
  // The path of an output file of a stage.
  std::string Output(const std::string& stage, const std::string& file) const {
    return (root_ / stage / file).string();
  }

  // SHA-256 (hex) over the job without its limits, and everything it reads:
  // the digests of `stage` and the keys that its earlier stages ran with.
  // FAILED_PRECONDITION when an earlier stage has never run.
  StatusOr<std::string> Key(const Stage& stage) const;

  StatusOr<StageState> State(const Stage& stage) const;

  // The result of a finished stage; FAILED_PRECONDITION when it is not done.
  StatusOr<job::Result> Result(const Stage& stage) const;

  // Runs the stage unless it is done. A stage whose key has changed starts
  // with an empty folder.
  StatusOr<job::Result> Run(const Stage& stage, WorkerRunner& worker,
                            const WorkerRunner::ProgressSink& on_progress);

 private:
  StatusOr<std::string> StoredKey(const std::string& stage) const;

  const std::filesystem::path root_;
};

}  // namespace tributary::contributor
