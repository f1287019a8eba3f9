#pragma once

// Where training stands, in one safetensors file: weights, both moments of the
// optimizer, losses so far, and in the metadata the step and a fingerprint of
// everything that the run depends on. The order of the data is a function of
// seed and epoch, so nothing else is needed to go on bit for bit.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {

struct Checkpoint {
  NamedTensors tensors;  // weights by name, "m.<name>", "v.<name>"
  std::vector<double> losses;
  int64_t step = 0;
  std::string fingerprint;
};

// Nothing when there is no file. FAILED_PRECONDITION when it belongs to another
// run, INVALID_ARGUMENT when it is damaged.
StatusOr<std::optional<Checkpoint>> ReadCheckpoint(
    const std::filesystem::path& path, const std::string& fingerprint);

// Writes checkpoints behind the back of the training loop: a copy is taken,
// written to a temporary file, fsynced and renamed, while training goes on.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(std::filesystem::path path)
      : path_(std::move(path)) {}
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Waits for the one before and returns its error; then starts this one.
  Status Save(const Checkpoint& checkpoint);
  // Waits until the last one is on disk.
  Status Wait();
  // The step of the last one that is on disk; 0 for none.
  int64_t saved_step() const { return saved_step_; }
  void set_saved_step(int64_t step) { saved_step_ = step; }

 private:
  const std::filesystem::path path_;
  Checkpoint copy_;  // the thread's while it runs
  std::thread thread_;
  Status status_;
  int64_t saved_step_ = 0;
};

}  // namespace tributary::contributor
