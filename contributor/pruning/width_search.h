#pragma once

// Widths that are chosen by what they cost on held-out text.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/model_config.h"

namespace tributary::contributor {

// Held-out log-loss (nats per token) of the model whose expert keeps the first
// channels of every layer.
using MeasureWidths =
    std::function<StatusOr<double>(const model_format::ExpertLayout&)>;

struct WidthTrial {
  std::string label;  // full, width, auto, uniform
  model_format::ExpertLayout layout;
  double heldout_log_loss = 0;
};

struct WidthChoice {
  model_format::ExpertLayout layout;
  // What was measured, in order.
  std::vector<WidthTrial> trials;
};

// The smallest equal width (in blocks; at most what a layer has) whose log-loss
// is at most `bound` above that of all channels, by bisection: it assumes that
// a wider expert is no worse, and answers with a width that was measured.
// INVALID_ARGUMENT for a bound that is not positive; errors of `measure`.
StatusOr<WidthChoice> SmallestWidth(const model_format::ModelConfig& anchor,
                                    const std::vector<int64_t>& available,
                                    double bound, const MeasureWidths& measure);

// `planned` or, when that is worse, equal widths of no more channels in all.
StatusOr<WidthChoice> CheckAgainstUniform(
    const model_format::ModelConfig& anchor,
    const std::vector<int64_t>& available,
    const model_format::ExpertLayout& planned, const MeasureWidths& measure);

}  // namespace tributary::contributor
