#pragma once

#include <filesystem>

#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/pruning/prune.h"
#include "contributor/pruning/width_search.h"
#include "contributor/training/trunk_windows.h"

namespace tributary::contributor {

// Held-out log-loss of prefixes of one expert beside `anchor`: every channel in
// the order of `expert` is loaded once, a width is a slice. `router_path` has
// the expert's rows. The result shares the anchor's tensors. Errors as the
// reading of files; measuring throws as LibTorch does.
StatusOr<MeasureWidths> MeasurePrefixes(
    const model::CausalLm& anchor, PrunedExpert expert,
    const std::filesystem::path& router_path, const TrunkFiles& files);

}  // namespace tributary::contributor
