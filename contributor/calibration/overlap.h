#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "common/base/status.h"
#include "contributor/calibration/importance.h"

namespace tributary::contributor {

// What the most important channels of one layer have in common in two files.
struct LayerOverlap {
  int64_t layer = 0;
  int64_t channels = 0;
  // For each fraction: how many channels count as the top, and how many of them
  // are in both.
  std::vector<int64_t> tops;
  std::vector<int64_t> common;
  // Spearman's rank correlation of all channels.
  double rank_correlation = 0;
};

// Compares the layers of two files, `fractions` each above 0 and below 1 of a
// layer's channels. Of equal scores the lower channel comes first.
// INVALID_ARGUMENT for other layers or widths, for scores of other channels,
// and for bad fractions.
StatusOr<std::vector<LayerOverlap>> CompareImportance(
    const std::filesystem::path& first, const std::filesystem::path& second,
    const std::vector<double>& fractions, const std::string& formula = "");

}  // namespace tributary::contributor
