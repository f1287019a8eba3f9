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
  // Instead of router_path: rows are the normalised means of these MoE inputs
  // (`layers.{l}.x` [tokens, D] from first_layer on; FlexOlmo, arXiv
  // 2507.07024, section 3.2), which are then to be trained.
  std::filesystem::path activations_path;
  int64_t first_layer = 0;
  // One for all layers from first_layer on, or one per layer.
  std::vector<int64_t> widths;
};
StatusOr<model::Expert> MakeInitialExpert(const model::CausalLm& anchor,
                                          const InitialExpertOptions& options);

// INVALID_ARGUMENT for prefixes that cannot be uploaded: widths that are no
// multiples of the anchor's block, or larger than its FFN.
Status CheckNestedWidths(const model_format::ModelConfig& anchor,
                         const std::vector<int64_t>& widths);

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
