#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/model_config.h"

namespace tributary::contributor {

// The numbers of the `width` highest scores, by descending score; of equal
// ones the lower number first.
std::vector<int32_t> HighestChannels(std::span<const float> scores,
                                     int64_t width);

// Importance scores per layer: `layers.{l}.importance` [I] of a safetensors
// file; empty below `first_layer`. INVALID_ARGUMENT for a missing layer, a
// wrong length, or scores that are negative or not finite.
StatusOr<std::vector<std::vector<float>>> ReadImportance(
    const model_format::ModelConfig& anchor, int64_t first_layer,
    const std::filesystem::path& path);

}  // namespace tributary::contributor
