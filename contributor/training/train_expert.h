#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "common/model/load.h"
#include "contributor/training/trainer.h"

namespace tributary::contributor {

// A new expert from the anchor's channels, fp32, on the anchor's device.
struct InitialExpertOptions {
  std::filesystem::path model_directory;
  // Orders and selects the anchor's channels; empty: as they are, which only
  // the full width allows.
  std::filesystem::path importance_path;
  // Starts from this expert instead; widths may then be empty.
  std::filesystem::path initial_path;
  // fp32 rows for every layer.
  std::filesystem::path router_path;
  int64_t first_layer = 0;
  // One for all layers from first_layer on, or one per layer.
  std::vector<int64_t> widths;
};
StatusOr<model::Expert> MakeInitialExpert(const model::CausalLm& anchor,
                                          const InitialExpertOptions& options);

// The 2-expert model of the anchor and a new expert, trained on text alone.
// `anchor` is not changed (its tensors are shared). Errors as TrainExpert.
struct TrainTask {
  InitialExpertOptions initial;
  TrunkFiles data;
  TrainerOptions trainer;
};
StatusOr<TrainingOutcome> TrainOnText(const model::CausalLm& anchor,
                                      const TrainTask& task);

}  // namespace tributary::contributor
