#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/calibration/importance.h"

namespace tributary::contributor {

struct CalibrateOptions {
  // `train` and `heldout`, or `input_ids`, which then is `train`: int32 or
  // int64 [windows, tokens].
  std::filesystem::path tokens_path;
  int64_t first_layer = 0;
  // Every n-th token of `train` is kept; 0 keeps none.
  int64_t sample_stride = 2;
  // Tokens computed at a time, at least one window.
  int64_t batch_tokens = 1024;
  // Where to write; empty: not wanted. The trunk is always of both splits.
  std::filesystem::path trunk_path;
  std::filesystem::path importance_path;
  std::filesystem::path activations_path;
  std::filesystem::path second_moments_path;
  // How channels are scored.
  std::vector<Formula> formulas = {Formula::kWindowMean};
  // Writes the sums beside the scores, for merging.
  bool write_sums = false;
  // Rows that weigh the tokens of an anchor's channels in kReap; empty: every
  // weight is 1. Of a model with an expert its own rows count.
  std::filesystem::path router_path;
  // Takes part `shard` of `shards` of `train`, whole batches each: merged,
  // the parts give the same bytes as one run.
  int64_t shard = 0;
  int64_t shards = 1;
  // Where a run that is stopped leaves its sums, and a later one goes on from
  // to the same result; empty: nowhere. Only for runs that write nothing but
  // importance.
  std::filesystem::path resume_path;
  // Batches between two such files.
  int64_t resume_batches = 32;
};

struct Calibration {
  int64_t tokens = 0;  // of `train`
  // Mean negative log-likelihood of the model, nats per predicted token; 0
  // where there is no such split. `heldout` is measured on the way when its
  // trunk is written, and not passed otherwise.
  double train_log_loss = 0;
  double heldout_log_loss = 0;
  bool resumed = false;
};

// Passes of the model over the windows:
//   trunk        `train`, `heldout` fp32 [windows, tokens, h]: the residual
//                stream in front of first_layer
//   importance   scores of the channels on `train` for every layer from
//                first_layer on (importance.h): of the anchor's FFN, or of the
//                expert beside it in the layers where it has weights
//   activations  `layers.{l}.x` bf16 [tokens, h]: MoE inputs of `train`, of
//                the same layers
//   second moments  `layers.{l}.second_moment` fp64 [h, h] and `layers.{l}.sum`
//                fp64 [h]: sums of x x^T and x over the MoE inputs of `train`
// `lm` is an anchor, alone or with one expert attached. Memory does not grow
// with the number of windows, but for the activations. kTaylor costs a second
// pass with gradients, one window at a time. INVALID_ARGUMENT for unsuitable
// files, CANCELLED when `report` (fraction done) says so; throws as LibTorch
// does.
StatusOr<Calibration> Calibrate(const model::CausalLm& lm,
                                const CalibrateOptions& options,
                                const std::function<Status(double)>& report);

}  // namespace tributary::contributor
