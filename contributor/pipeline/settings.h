#pragma once

// The configuration with every default filled in from the anchor and checked
// against its policy.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "tributary/config/contributor.pb.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// What the pipeline needs to know of an anchor that lies in a folder.
struct AnchorFacts {
  std::string name;    // anchors/{anchor}
  std::string digest;  // SHA-256 (hex) of its manifest
  std::string directory;
  int64_t num_layers = 0;
  int64_t intermediate_size = 0;
  // The unit of expert widths.
  int64_t block = 0;
  // The anchor's policy for experts.
  int32_t first_layer = 0;
  int64_t max_width = 0;
  int32_t top_k = 2;
  int32_t window_tokens = 256;
  int32_t sample_stride = 2;
};

enum class Recipe { kTrain, kPruneAndDistil };
// "train", "prune-and-distil".
std::string_view RecipeName(Recipe recipe);

struct Settings {
  std::string contribution;
  config::Data data;
  Recipe recipe = Recipe::kTrain;
  // The widest layer; where widths are measured, what a layer may have at most.
  int64_t width = 0;
  // One per layer of the anchor; empty: `width` in all, or a measured choice.
  std::vector<int64_t> widths;
  // Widths that the prune stage chooses; 0: not this way.
  int64_t parameter_budget = 0;
  double quality_bound = 0;
  // Of layers that leave as differences to the anchor's FFN; 0: none do.
  int32_t rank = 0;

  bool chooses_widths() const {
    return parameter_budget > 0 || quality_bound > 0;
  }
  int32_t first_layer = 0;
  job::FitRouter::Method router = job::FitRouter::LOGISTIC;
  // Rows start from mean activations and are trained with the expert.
  bool trains_rows = false;
  // Logistic rows with a bias, which is folded in otherwise.
  bool unfolded_rows = false;
  // Sums over MoE inputs go with the expert.
  bool router_statistics = false;
  job::Distill::Form form = job::Distill::TAIL;
  double text_share = 0.5;
  job::Optimizer optimizer;
  uint64_t seed = 0;
  int64_t min_documents = 0;
  int64_t min_tokens = 0;
};

// `config` has its defaults (config::CompleteConfig). INVALID_ARGUMENT when no
// text is named, or for a width or first layer that the anchor's policy
// refuses.
StatusOr<Settings> ResolveSettings(const config::ContributorConfig& config,
                                   const AnchorFacts& anchor);

job::Optimizer OptimizerOf(const config::Training& training);

}  // namespace tributary::contributor
