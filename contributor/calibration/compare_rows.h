#pragma once

// What an owner can tell from a release's rows alone: whether the rows of
// others claim the own text. T tokens, D model width, E experts.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

struct CompareRowsOptions {
  // activations.safetensors of Calibrate: `layers.{l}.x` [T, D] of own text.
  std::filesystem::path activations_path;
  // router.safetensors of the release, and the names of its experts in order.
  std::filesystem::path router_path;
  std::vector<std::string> contributions;
  // The own ones among them.
  std::vector<std::string> own;
};

struct RowComparison {
  struct Layer {
    int64_t layer = 0;
    double mean_best_logit = 0;  // over tokens, of the highest foreign logit
    double mean_own_logit = 0;   // of the highest own one
  };
  struct Row {
    std::string contribution;
    double mean_logit = 0;  // over tokens and layers
  };
  // Mean over the layers; nothing without foreign rows.
  std::optional<double> mean_best_logit;
  std::vector<Layer> layers;
  std::vector<Row> rows;  // foreign ones, highest first
};

// Logits x . r + b of all rows, relative to the public one, in the layers of
// the activations file. INVALID_ARGUMENT for files that do not belong together.
StatusOr<RowComparison> CompareRows(const CompareRowsOptions& options);

}  // namespace tributary::contributor
