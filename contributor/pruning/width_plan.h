#pragma once

#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/model_config.h"

namespace tributary::contributor {

// How wide a pruned expert should be; exactly one field is set.
struct WidthRequest {
  // One width for all layers from the first, or one per layer of the model.
  std::vector<int64_t> widths;
  // Of what is pruned, rounded down to blocks, at least one.
  double fraction = 0;
  // Weights of gate, up and down together. Layers compete for blocks: every
  // channel's score is divided by its layer's mean, the highest ones of all
  // layers are counted per layer, and the counts are rounded to blocks by
  // largest remainder. No layer gets less than one block.
  int64_t parameter_budget = 0;
};

// The widths of an expert with weights in the layers from `first_layer` on,
// cut out of one with `available` channels per layer (0 where it has none).
// `scores` are the importance scores per layer (read for a budget only).
// INVALID_ARGUMENT for widths that are not multiples of the anchor's block or
// more than there are, for a budget below one block a layer, and unless exactly
// one kind of width is asked for.
StatusOr<model_format::ExpertLayout> PlanWidths(
    const model_format::ModelConfig& anchor, int64_t first_layer,
    const std::vector<int64_t>& available,
    const std::vector<std::vector<float>>& scores, const WidthRequest& request);

}  // namespace tributary::contributor
