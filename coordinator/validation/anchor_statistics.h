#pragma once

// What the coordinator publishes about public text, so that contributors can
// make router rows without each other: windows of token ids, and a sample of
// the activations that a router sees on them.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::coordinator {

// The class that the anchor should keep, and the one that measures it. Every
// other class is background.
inline constexpr char kProseClass[] = "prose";
inline constexpr char kHeldoutClass[] = "heldout";

struct TextClass {
  std::string name;  // a resource id
  std::vector<std::filesystem::path> paths;
};

struct AnchorStatisticsOptions {
  std::filesystem::path model_directory;
  std::vector<TextClass> classes;
  int64_t window_tokens = 256;
  int64_t windows_per_class = 12;
  int64_t heldout_windows = 16;
  // Every n-th token of the windows is kept.
  int64_t sample_stride = 2;
  // Activations below are not kept.
  int64_t first_layer = 0;
  std::filesystem::path output_directory;
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

struct ClassLoss {
  std::string name;
  double log_loss = 0;  // of the anchor, nats per predicted token
  int64_t tokens = 0;
  std::vector<double> window_losses;
};

struct AnchorStatisticsResult {
  std::filesystem::path tokens_path;
  std::filesystem::path statistics_path;
  std::vector<ClassLoss> losses;  // of prose and heldout
};

// Writes tokens.safetensors (`{class}` int32 [windows, window_tokens]) and
// statistics.safetensors (`layers.{l}.{class}` bf16 [tokens, D]: MoE inputs of
// prose and background; `layers.{l}.importance` fp32 [I] on prose, every
// layer). INVALID_ARGUMENT for classes that are missing, named twice, have a
// name that is not an id or no document of a window's length.
StatusOr<AnchorStatisticsResult> MakeAnchorStatistics(
    const AnchorStatisticsOptions& options);

}  // namespace tributary::coordinator
