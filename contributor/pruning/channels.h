#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "contributor/calibration/importance.h"

namespace tributary::contributor {

// The numbers of the `width` highest scores, by descending score; of equal
// ones the lower number first.
std::vector<int32_t> HighestChannels(std::span<const float> scores,
                                     int64_t width);

// The numbers 0 .. channels - 1 in an order that is a function of seed and
// layer.
std::vector<int32_t> ShuffledChannels(uint64_t seed, int64_t layer,
                                      int64_t channels);

// Scores of the layers that have channels, checked to be one per channel.
struct ChannelScores {
  std::vector<std::vector<float>> layers;  // one per layer of the model
  ImportanceScores file;
};
// NOT_FOUND for a missing layer, INVALID_ARGUMENT for a wrong number of scores,
// otherwise as ReadImportanceScores.
StatusOr<ChannelScores> ReadImportance(const std::vector<int64_t>& channels,
                                       const std::filesystem::path& path,
                                       const std::string& formula = "");

}  // namespace tributary::contributor
