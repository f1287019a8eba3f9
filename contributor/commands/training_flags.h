#pragma once

// The options of train and distill that decide how is trained.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

struct TrainingFlags {
  double learning_rate = 0;
  int epochs = 0;
  double weight_decay = 0;
  std::optional<double> clip_norm;
  std::string schedule = "cosine";
  std::optional<int> warmup_steps;
  std::optional<double> final_fraction;
  int windows_per_step = 0;
  int micro_batch_windows = 0;
  int checkpoint_steps = 0;
  int validation_steps = 0;
  int patience = 0;
  double min_improvement = 0;
  bool recompute_activations = false;
  std::vector<int64_t> nested_widths;
  std::string frozen_storage = "float32";
  uint64_t memory_limit_bytes = 0;
};

void DeclareTrainingFlags(CLI::App* command, TrainingFlags& flags);
job::Optimizer OptimizerOf(const TrainingFlags& flags);

// Of train alone.
struct RowFlags {
  std::string rows = "fixed";
  bool row_bias = false;
  std::optional<double> z_loss;

  bool trained() const { return rows == "trained"; }
};

void DeclareRowFlags(CLI::App* command, RowFlags& flags);

}  // namespace tributary::contributor
