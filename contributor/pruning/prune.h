#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "common/base/status.h"
#include "contributor/pruning/expert_weights.h"
#include "contributor/pruning/width_plan.h"

namespace tributary::contributor {

// Which channels come first.
enum class Ranking {
  // kImportance for the anchor's FFN, kStored for an expert.
  kDefault,
  // As they are stored.
  kStored,
  // By descending score.
  kImportance,
  // At random: what a comparison starts from.
  kRandom,
};

struct PruneOptions {
  std::filesystem::path model_directory;
  // `layers.{l}.importance` of the channels of what is pruned. Empty: channels
  // stay as they are, which only an expert or the full width allows.
  std::filesystem::path importance_path;
  // Scores by this formula; empty: the file's first.
  std::string formula;
  // Empty: the anchor's own FFN is pruned.
  std::filesystem::path expert_path;
  int64_t first_layer = 0;
  WidthRequest request;
  // No layer gets more channels; 0 for no limit.
  int64_t max_width = 0;
  Ranking ranking = Ranking::kDefault;
  uint64_t seed = 0;  // of kRandom
};

struct PrunedExpert {
  std::vector<LayerWeights> layers;        // one per layer of the model
  std::vector<std::vector<int32_t>> kept;  // channels of the source, per layer
  int64_t parameters = 0;                  // of gate, up and down together

  std::vector<int64_t> widths() const;
};

// The widths of what `options` prunes: of the expert, or of the anchor's FFN
// from first_layer on. Errors as the opening of files.
StatusOr<std::vector<int64_t>> AvailableWidths(const PruneOptions& options);

// Keeps the first channels by `ranking`, stored in that order, so that any
// narrower expert is a prefix. An expert file stores its channels by descending
// importance already: by default it is cut to a prefix, and scores, which then
// are those of the channels that it was made from, are read for a parameter
// budget only. INVALID_ARGUMENT for scores of other channels than those of
// what is ranked; otherwise errors as PlanWidths, ReadImportance and the
// reading of files.
StatusOr<PrunedExpert> Prune(const PruneOptions& options);

// The same, written: `expert_path` as WriteExpertWeights, `plan_path` with
// `layers.{l}.kept` int32 [width].
StatusOr<PrunedExpert> PruneToFile(const PruneOptions& options,
                                   const std::filesystem::path& expert_path,
                                   const std::filesystem::path& plan_path);

}  // namespace tributary::contributor
