#pragma once

#include <cstdint>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

enum class Schedule { kCosine, kConstant, kLinear };

// Optimizer and schedule.
struct OptimizerOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double clip_norm = 1;  // of all gradients together; 0: no clipping
  Schedule schedule = Schedule::kCosine;
  int64_t warmup_steps = 4;
  double final_fraction = 0.1;  // of cosine and linear
  int64_t epochs = 2;
  int64_t windows_per_step = 1;
  // Windows computed at a time; 0: all of a step.
  int64_t micro_batch_windows = 0;
  int64_t checkpoint_steps = 16;
  // Steps between measurements of the held-out windows; 0: none on the way.
  int64_t validation_steps = 0;
  // Stops behind this many measurements in a row without a new best one and
  // keeps the best one's weights; 0: never.
  int64_t patience = 0;
  double min_improvement = 0;  // nats; a new best one is lower by more
  // Every step trains a prefix of one of these widths; empty: all channels.
  std::vector<int64_t> nested_widths;
};

// INVALID_ARGUMENT naming the first field that is out of range.
Status CheckOptimizer(const OptimizerOptions& options);

// Steps of an epoch over `windows` windows; the last may have fewer windows.
int64_t StepsPerEpoch(const OptimizerOptions& options, int64_t windows);

// The learning rate of step `step` (from 0) of `steps`: linear warm-up, then
// the schedule from the highest rate on. A cosine and a line end at
// final_fraction of it.
double LearningRate(const OptimizerOptions& options, int64_t step,
                    int64_t steps);

// The order of `windows` windows in an epoch: a function of its arguments.
std::vector<int64_t> EpochOrder(uint64_t seed, int64_t epoch, int64_t windows);

// The prefix width of step `step` (from 0), drawn evenly from nested_widths; 0
// when there are none. A function of its arguments, so that no generator's
// state has to be kept.
int64_t NestedWidth(const OptimizerOptions& options, uint64_t seed,
                    int64_t step);

}  // namespace tributary::contributor
