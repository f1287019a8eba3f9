#pragma once

#include <vector>

#include "common/model/causal_lm.h"

namespace tributary::model {

// Positions of one sequence in a packed row.
struct Segment {
  int64_t length = 0;
  // The positions follow the cached ones, and the cache gets theirs; null: they
  // are 0, 1, ... and nothing is kept.
  KvCache* cache = nullptr;
};

// Residual stream [1, T, D] behind the last layer for the new positions of any
// number of sequences, one behind the other in `ids_T` (int64): weights are
// read once for all of them, attention stays within a sequence. Advances the
// caches. Without gradients. Throws as the functions of causal_lm.h, also when
// lengths are not positive or do not add up to T.
Tensor RunPacked(const CausalLm& lm, const Tensor& ids_T,
                 const std::vector<Segment>& segments);

}  // namespace tributary::model
