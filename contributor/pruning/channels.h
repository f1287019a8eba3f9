#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

// The numbers of the `width` highest scores, by descending score; of equal
// ones the lower number first.
std::vector<int32_t> HighestChannels(std::span<const float> scores,
                                     int64_t width);

// Importance scores per layer: `layers.{l}.importance` [channels[l]] of a
// safetensors file; empty where there are no channels. NOT_FOUND for a missing
// layer, INVALID_ARGUMENT for a wrong length, or scores that are negative or
// not finite.
StatusOr<std::vector<std::vector<float>>> ReadImportance(
    const std::vector<int64_t>& channels, const std::filesystem::path& path);

}  // namespace tributary::contributor
