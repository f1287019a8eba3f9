#pragma once

#include <vector>

#include "common/kernels/rope.h"
#include "common/model/causal_lm.h"

namespace tributary::model {

// Angular frequencies [C / 2] (fp32) of a config's rotary embedding: theta^
// (-2i / C), scaled as `linear` (divided by the factor) or `llama3` (long wave
// lengths divided by the factor, short ones kept, a ramp between) say.
Tensor RopeFrequencies(const model_format::ModelConfig& config);

// x w^T, in x's dtype whatever the weight's. A frozen weight of another dtype
// is converted again in the backward pass instead of being kept converted.
Tensor Project(const Tensor& x, const Tensor& weight);

// The norm of a config's family.
Tensor Norm(const model_format::ModelConfig& config, const Tensor& x,
            const Tensor& weight);

// Lengths of the documents in each window of a batch, in order.
using DocumentLengths = std::vector<std::vector<int64_t>>;

// From RunOptions::documents_BS. Throws for numbers that are not ascending.
DocumentLengths LengthsOfDocuments(const Tensor& documents_BS);

// Queries [B, heads, S, C], keys and values [B, kv heads, S, C], with the
// positions' rotation.
struct HeadProjections {
  Tensor q;
  Tensor k;
  Tensor v;
};
HeadProjections ProjectHeads(const CausalLm& lm, int64_t layer,
                             const Tensor& x_BSD,
                             const kernels::RopeTable& table);

// Scaled dot products of q [B, heads, S, C] with k and v [B, kv heads, L, C],
// causal: the last S of the L positions are q's own. Returns
// [B, S, heads * C].
Tensor GroupedAttention(const Tensor& q, const Tensor& k, const Tensor& v);

// Causal self-attention [B, S, D] to [B, S, D]; with a cache, the positions
// follow the cached ones, and the cache gets theirs. With `documents` no
// position sees another document's.
Tensor Attend(const CausalLm& lm, int64_t layer, const Tensor& x_BSD,
              const kernels::RopeTable& table, KvCache* cache,
              const DocumentLengths* documents = nullptr);

}  // namespace tributary::model
