#pragma once

// The loop that trains one expert beside a frozen anchor. T tokens, D width.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/training/schedule.h"
#include "contributor/training/trained_expert.h"
#include "contributor/training/trunk_windows.h"

namespace tributary::contributor {

// The scalar to be minimised, mean over tokens, from the normalised states of
// all positions that have a target [T, D].
using LossFunction = std::function<at::Tensor(const WindowBatch& batch,
                                              const at::Tensor& hidden_TD)>;

struct TrainerOptions {
  OptimizerOptions optimizer;
  uint64_t seed = 0;
  RowTraining rows;
  // Less memory for a third more time, the same result bit for bit.
  bool recompute_activations = false;
  // What the loss depends on beside model and data, for the checkpoint's
  // fingerprint.
  std::string loss_description;
  // fp32 matrices without rows.
  std::filesystem::path expert_path;
  // Rows and biases of all layers, where rows are trained.
  std::filesystem::path router_path;
  // Both removed when the expert is written. The second holds the weights of
  // the best held-out measurement, where there is a patience.
  std::filesystem::path checkpoint_path;
  std::filesystem::path best_path;
  // One line of JSON per step: step, epoch, loss, learning_rate,
  // gradient_norm, tokens, seconds, and width where it is drawn; and one per
  // held-out measurement: step, heldout_log_loss, seconds.
  std::filesystem::path loss_path;
  // The same as a picture (SVG), when training ends; empty: not wanted.
  std::filesystem::path curve_path;
  // Fraction done and a line for a person; an error stops the training behind
  // a checkpoint and is returned.
  std::function<Status(double, const std::string&)> report;
};

// Held-out log-loss of the expert's first `width` channels.
struct PrefixLogLoss {
  int64_t width = 0;
  double log_loss = 0;
};

struct TrainingOutcome {
  int64_t steps = 0;  // taken
  int64_t tokens = 0;
  // Mean loss of the first and of the last tenth of the steps.
  double first_loss = 0;
  double last_loss = 0;
  // The text's own log-loss on held-out windows with the weights kept, and the
  // step that they are of.
  double heldout_log_loss = 0;
  int64_t best_step = 0;
  bool stopped_early = false;
  bool resumed = false;
  std::vector<PrefixLogLoss> prefixes;  // one per nested width, ascending
  // model::DigestFrozen before and after.
  std::string frozen_digest_before;
  std::string frozen_digest_after;
};

// Trains the last expert of every layer of `lm` that has weights there, and its
// rows when options say so; all else stays as it is, bit for bit. Goes on from
// the checkpoint at checkpoint_path when it is of this run: the result is the
// same as without the interruption. INVALID_ARGUMENT for unsuitable options,
// and when a loss is no longer finite (the message names the step, the last
// checkpoint and the likely cause; nothing is removed); FAILED_PRECONDITION for
// the checkpoint of another run; throws as LibTorch does.
StatusOr<TrainingOutcome> TrainExpert(model::CausalLm& lm,
                                      const TrunkWindows& train,
                                      const TrunkWindows& heldout,
                                      const LossFunction& loss,
                                      const TrainerOptions& options);

}  // namespace tributary::contributor
