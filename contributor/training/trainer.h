#pragma once

// The loop that trains one expert beside a frozen anchor. T tokens, D width.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/training/schedule.h"
#include "contributor/training/trunk_windows.h"

namespace tributary::contributor {

// The scalar to be minimised, mean over tokens, from the normalised states of
// all positions that have a target [T, D].
using LossFunction = std::function<at::Tensor(const WindowBatch& batch,
                                              const at::Tensor& hidden_TD)>;

struct TrainerOptions {
  OptimizerOptions optimizer;
  uint64_t seed = 0;
  // What the loss depends on beside model and data, for the checkpoint's
  // fingerprint.
  std::string loss_description;
  // fp32 matrices without rows.
  std::filesystem::path expert_path;
  // Removed when the expert is written.
  std::filesystem::path checkpoint_path;
  // One line of JSON per step: step, epoch, loss, learning_rate,
  // gradient_norm, tokens, seconds.
  std::filesystem::path loss_path;
  // Fraction done and a line for a person; an error stops the training behind
  // a checkpoint and is returned.
  std::function<Status(double, const std::string&)> report;
};

struct TrainingOutcome {
  int64_t steps = 0;
  int64_t tokens = 0;
  // Mean loss of the first and of the last tenth of the steps.
  double first_loss = 0;
  double last_loss = 0;
  // The text's own log-loss on held-out windows after training.
  double heldout_log_loss = 0;
  bool resumed = false;
  // model::DigestFrozen before and after.
  std::string frozen_digest_before;
  std::string frozen_digest_after;
};

// Trains the last expert of every layer of `lm` that has weights there; all
// else stays as it is, bit for bit. Goes on from the checkpoint at
// checkpoint_path when it is of this run: the result is the same as without
// the interruption. INVALID_ARGUMENT for unsuitable options, and when the loss
// is no longer finite (the message names the step and the last checkpoint);
// FAILED_PRECONDITION for the checkpoint of another run; throws as LibTorch
// does.
StatusOr<TrainingOutcome> TrainExpert(model::CausalLm& lm,
                                      const TrunkWindows& train,
                                      const TrunkWindows& heldout,
                                      const LossFunction& loss,
                                      const TrainerOptions& options);

}  // namespace tributary::contributor
