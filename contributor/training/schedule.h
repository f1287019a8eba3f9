#pragma once

#include <cstdint>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

// Optimizer and schedule.
struct OptimizerOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double clip_norm = 1;  // of all gradients together; 0: no clipping
  int64_t warmup_steps = 4;
  double final_fraction = 0.1;
  int64_t epochs = 2;
  int64_t windows_per_step = 1;
  int64_t checkpoint_steps = 16;
};

// INVALID_ARGUMENT naming the first field that is out of range.
Status CheckOptimizer(const OptimizerOptions& options);

// Steps of an epoch over `windows` windows; the last may have fewer windows.
int64_t StepsPerEpoch(const OptimizerOptions& options, int64_t windows);

// The learning rate of step `step` (from 0) of `steps`: linear warm-up, then
// half a cosine from the highest down to final_fraction of it.
double LearningRate(const OptimizerOptions& options, int64_t step,
                    int64_t steps);

// The order of `windows` windows in an epoch: a function of its arguments.
std::vector<int64_t> EpochOrder(uint64_t seed, int64_t epoch, int64_t windows);

}  // namespace tributary::contributor
