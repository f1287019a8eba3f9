#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "common/base/status.h"
#include "common/model/causal_lm.h"

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
};

struct Calibration {
  int64_t tokens = 0;  // of `train`
  // Mean negative log-likelihood of the anchor, nats per predicted token; 0
  // where there is no such split.
  double train_log_loss = 0;
  double heldout_log_loss = 0;
};

// One pass of the anchor over the windows:
//   trunk        `train`, `heldout` fp32 [windows, tokens, h]: the residual
//                stream in front of first_layer
//   importance   `layers.{l}.importance` fp32 [I] of the anchor's FFN on
//                `train`, for every layer from first_layer on:
//                s_i = sqrt(sum over windows of (mean over tokens of |a_i|)^2),
//                a the input of down_proj (Minitron, section 2), summed in fp64
//   activations  `layers.{l}.x` bf16 [tokens, h]: MoE inputs of `train`, of
//                the same layers
// INVALID_ARGUMENT for unsuitable files, CANCELLED when `report` (fraction
// done) says so; throws as LibTorch does.
StatusOr<Calibration> Calibrate(const model::CausalLm& anchor,
                                const CalibrateOptions& options,
                                const std::function<Status(double)>& report);

}  // namespace tributary::contributor
