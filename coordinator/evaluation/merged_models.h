#pragma once

// Other models made of the parts of a release, in memory; they share its
// tensors. `lm` is a release: in every layer expert 0 stands for the anchor's
// FFN. E experts with the public one.

#include <cstdint>
#include <vector>

#include "common/model/causal_lm.h"

namespace tributary::coordinator {

// The public expert and these others (1 .. E-1, ascending) with their rows; of
// none: the anchor.
model::CausalLm ReduceTo(const model::CausalLm& lm,
                         const std::vector<int64_t>& experts);

// Whether the experts have the same width in each layer.
bool HasEqualWidths(const model::CausalLm& lm);

// What an average counts where an expert lacks a channel of the anchor.
enum class Gap {
  kZero,    // nothing
  kAnchor,  // the anchor's channel
};

// Branch-Train-Merge's average of parameters (arXiv 2208.03306): the mean of
// all experts, channel by channel of the anchor that they started from
// (model::MatchChannels), as one expert beside the anchor that takes half of
// every token. Experts of width 0 count as the anchor's FFN.
model::CausalLm AverageExperts(const model::CausalLm& lm, Gap gap);

// Sparse upcycling (arXiv 2212.05055): copies of the anchor's FFN in the place
// of all E experts wherever the release has one with weights, and router rows
// drawn at random (normal, 0.02) by `seed`, the public one zero.
model::CausalLm Upcycle(const model::CausalLm& lm, uint64_t seed);

// Rows [E, D] of every layer drawn as above; undefined where a layer does not
// route.
std::vector<at::Tensor> RandomRows(const model::CausalLm& lm, uint64_t seed);

// Parameters: all that there are, and those that a token meets; experts that
// are chosen equally often.
struct ParameterCount {
  int64_t total = 0;
  int64_t active = 0;
};
ParameterCount CountParameters(const model::CausalLm& lm);

}  // namespace tributary::coordinator
