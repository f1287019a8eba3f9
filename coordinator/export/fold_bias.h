#pragma once

#include <filesystem>

#include "common/base/status.h"
#include "common/model/causal_lm.h"

namespace tributary::coordinator {

// Moves router biases into the rows of a model, as formats without biases need
// it: r += b u with u = (A + ridge)^-1 s, where A is the second moment and s
// the mean of the public MoE inputs of the layer (prose and background classes
// alike), so that x.u is as near to 1 as a linear function can be. Layers that
// do not route lose their biases, which change nothing. FAILED_PRECONDITION
// when a layer that needs it has no public statistics.
Status FoldBiases(model::CausalLm& lm,
                  const std::filesystem::path& public_statistics);

// True when some layer that routes has a bias.
bool HasBiases(const model::CausalLm& lm);

}  // namespace tributary::coordinator
