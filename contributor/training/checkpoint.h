#pragma once

// Where training stands, in one safetensors file: weights, both moments of the
// optimizer, losses and held-out measurements so far, and in the metadata the
// step and a fingerprint of everything that the run depends on. The order of
// the data and every random choice are functions of seed, epoch and step, so
// nothing else is needed to go on bit for bit.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/safetensors/writer.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/training/history.h"

namespace tributary::contributor {

struct Checkpoint {
  NamedTensors tensors;  // weights by name, "m.<name>", "v.<name>"
  TrainingHistory history;
  std::string fingerprint;

  int64_t step() const { return history.steps(); }
};

// Nothing when there is no file. FAILED_PRECONDITION when it belongs to another
// run, INVALID_ARGUMENT when it is damaged.
StatusOr<std::optional<Checkpoint>> ReadCheckpoint(
    const std::filesystem::path& path, const std::string& fingerprint);

// Writes checkpoints without a copy of what is in them: the tensors are written
// to a temporary file from where they are, between two steps; making the file
// durable and visible, which takes longer, goes on behind the training loop.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(std::filesystem::path path)
      : path_(std::move(path)) {}
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Waits for the one before and returns its error; then starts this one. The
  // tensors may change when it returns.
  Status Save(const Checkpoint& checkpoint);
  // Waits until the last one is on disk.
  Status Wait();
  // The step of the last one that is on disk; 0 for none.
  int64_t saved_step() const { return saved_step_; }
  void set_saved_step(int64_t step) { saved_step_ = step; }

 private:
  const std::filesystem::path path_;
  std::unique_ptr<safetensors::Writer> file_;  // the thread's while it runs
  int64_t step_ = 0;                           // of file_
  std::thread thread_;
  Status status_;
  int64_t saved_step_ = 0;
};

}  // namespace tributary::contributor
