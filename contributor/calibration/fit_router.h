#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/model_config.h"
#include "contributor/calibration/discriminant.h"

namespace tributary::contributor {

struct FitRouterOptions {
  // `layers.{l}.x` [tokens, h]: own activations.
  std::filesystem::path activations_path;
  // `layers.{l}.{class}` [tokens, h]: public ones; the class `prose` and any
  // others, which are background.
  std::filesystem::path public_statistics_path;
  int64_t first_layer = 0;
  DiscriminantOptions discriminant;
};

struct FittedLayer {
  int64_t layer = 0;
  Discriminant discriminant;
};

// Fits the rows of all layers from first_layer on and writes them to
// `folded_path` and `unfolded_path`: `layers.{l}.router.weight` fp32 [h] and
// `layers.{l}.router.bias` [] for every layer, zeros below first_layer.
// `report` is called with fraction done. Errors as FitDiscriminant and the
// reading of files, CANCELLED when `report` says so.
StatusOr<std::vector<FittedLayer>> FitRouter(
    const model_format::ModelConfig& anchor, const FitRouterOptions& options,
    const std::filesystem::path& folded_path,
    const std::filesystem::path& unfolded_path,
    const std::function<Status(double)>& report);

}  // namespace tributary::contributor
