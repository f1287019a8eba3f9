#pragma once

#include <cstdint>
#include <vector>

#include "common/model/causal_lm.h"

namespace tributary::model {

// Which channel of `anchor` each channel of `expert` started from: experts keep
// some of the anchor's channels, in an order of their own, and training moves
// them little. Pairs by the cosine of (gate row, up row, down column), the most
// alike first, no channel of the anchor twice. Both are of one model width D;
// the expert is at most as wide as the anchor. Throws as causal_lm.h.
std::vector<int64_t> MatchChannels(const Ffn& expert, const Ffn& anchor);

}  // namespace tributary::model
