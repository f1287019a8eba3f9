#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "common/base/status.h"
#include "contributor/pruning/expert_weights.h"
#include "contributor/pruning/width_plan.h"

namespace tributary::contributor {

struct PruneOptions {
  std::filesystem::path model_directory;
  // `layers.{l}.importance` of the anchor's channels. Empty: channels stay as
  // they are, which only an expert or the full width allows.
  std::filesystem::path importance_path;
  // Empty: the anchor's own FFN is pruned.
  std::filesystem::path expert_path;
  int64_t first_layer = 0;
  WidthRequest request;
};

struct PrunedExpert {
  std::vector<LayerWeights> layers;        // one per layer of the model
  std::vector<std::vector<int32_t>> kept;  // channels of the source, per layer
  int64_t parameters = 0;                  // of gate, up and down together

  std::vector<int64_t> widths() const;
};

// Keeps the most important channels. Those of the anchor's FFN are ranked by
// importance and stored by descending importance. An expert file stores its
// channels so already: it is cut to a prefix, and importance is read for a
// parameter budget only. Errors as PlanWidths, ReadImportance and the reading
// of files.
StatusOr<PrunedExpert> Prune(const PruneOptions& options);

// The same, written: `expert_path` as WriteExpertWeights, `plan_path` with
// `layers.{l}.kept` int32 [width].
StatusOr<PrunedExpert> PruneToFile(const PruneOptions& options,
                                   const std::filesystem::path& expert_path,
                                   const std::filesystem::path& plan_path);

}  // namespace tributary::contributor
