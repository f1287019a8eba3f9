#include "common/model/causal_lm.h"

#include <algorithm>

#include "common/kernels/head_loss.h"
#include "common/model/attention.h"
#include "common/model/decoder_layer.h"

namespace tributary::model {
namespace {

Tensor RunLayer(const CausalLm& lm, int64_t index, const Tensor& x_BSD,
                const kernels::RopeTable& table,
                const DocumentLengths* documents, const RunOptions& options) {
  return RunDecoderLayer(
      lm, index, x_BSD, options.hooks, [&](const Tensor& input) {
        return Attend(lm, index, input, table, options.cache, documents);
      });
}

}  // namespace

bool DecoderLayer::routes() const {
  return std::any_of(experts.begin(), experts.end(),
                     [](const auto& expert) { return expert.has_value(); });
}

int64_t CausalLm::num_experts() const {
  return layers.empty() ? 0
                        : static_cast<int64_t>(layers.back().experts.size());
}

KvCache KvCache::Create(const CausalLm& lm, int64_t batch, int64_t capacity) {
  KvCache cache;
  cache.capacity = capacity;
  const auto options =
      at::TensorOptions(lm.device())
          .dtype(lm.device().is_cpu() ? at::kFloat : lm.head_VD.scalar_type());
  for (int64_t l = 0; l < lm.num_layers(); ++l) {
    for (auto* list : {&cache.keys, &cache.values}) {
      list->push_back(at::zeros(
          {batch, lm.config.num_kv_heads, capacity, lm.config.head_dim},
          options));
    }
  }
  return cache;
}

Tensor Embed(const CausalLm& lm, const Tensor& ids_BS) {
  TORCH_CHECK(lm.embed_VD.defined(), "the embedding was not loaded");
  TORCH_CHECK(ids_BS.dim() == 2, "ids have ", ids_BS.dim(),
              " dimensions, wanted [B, S]");
  const Tensor x =
      at::embedding(lm.embed_VD, ids_BS.to(lm.device(), at::kLong));
  return lm.device().is_cpu() ? x.to(at::kFloat) : x;
}

Tensor RunLayers(const CausalLm& lm, Tensor x_BSD, int64_t first, int64_t end,
                 const RunOptions& options) {
  TORCH_CHECK(x_BSD.dim() == 3 && x_BSD.size(2) == lm.config.hidden_size,
              "states have shape ", x_BSD.sizes(), ", wanted [B, S, ",
              lm.config.hidden_size, "]");
  TORCH_CHECK(first >= 0 && end <= lm.num_layers(), "layers ", first, " to ",
              end, " of ", lm.num_layers());
  const kernels::RopeTable table = kernels::MakeRopeTable(
      lm.rope_frequencies, options.cache != nullptr ? options.cache->length : 0,
      x_BSD.size(1));
  std::optional<DocumentLengths> documents;
  if (options.documents_BS.defined()) {
    TORCH_CHECK(options.cache == nullptr &&
                    options.documents_BS.size(1) == x_BSD.size(1),
                "documents go with whole windows of their length");
    documents = LengthsOfDocuments(options.documents_BS);
  }
  for (int64_t l = first; l < end; ++l) {
    x_BSD = RunLayer(lm, l, x_BSD, table, documents ? &*documents : nullptr,
                     options);
  }
  return x_BSD;
}

Tensor FinalNorm(const CausalLm& lm, const Tensor& x_BSD) {
  return Norm(lm.config, x_BSD, lm.final_norm_D);
}

Tensor Logits(const CausalLm& lm, const Tensor& x_BSD) {
  return Project(x_BSD, lm.head_VD);
}

Tensor HiddenStates(const CausalLm& lm, const Tensor& ids_BS,
                    const RunOptions& options) {
  return FinalNorm(
      lm, RunLayers(lm, Embed(lm, ids_BS), 0, lm.num_layers(), options));
}

Tensor TokenLogLoss(const CausalLm& lm, const Tensor& hidden_TD,
                    const Tensor& targets_T) {
  return kernels::HeadLogLoss(hidden_TD, lm.head_VD,
                              targets_T.to(lm.device(), at::kLong));
}

}  // namespace tributary::model
