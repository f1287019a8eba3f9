#pragma once

// Decoder language models: an anchor alone, an anchor with experts beside its
// feed-forward network, and mixtures as Hugging Face stores them.
//
// Shape suffixes: B batch, S positions, T tokens (B * S), D model width,
// F FFN width, E experts with the public one, K chosen experts, V vocabulary,
// H heads, C head width.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model_format/model_config.h"

namespace tributary::model {

using at::Tensor;

// A gated MLP: down(silu(gate(x)) * up(x)).
struct Ffn {
  Tensor gate_FD;
  Tensor up_FD;
  Tensor down_DF;

  int64_t width() const { return gate_FD.size(0); }
};

struct DecoderLayer {
  // Pre-norm families: before the attention. Undefined in post-norm families.
  Tensor input_norm_D;
  // Before the FFN in pre-norm families, after the attention in post-norm ones.
  Tensor post_attention_norm_D;
  // Post-norm families: after the FFN. Undefined otherwise.
  Tensor post_feedforward_norm_D;

  Tensor q_proj_HD;  // [heads * C, D]
  Tensor k_proj_HD;  // [kv heads * C, D]
  Tensor v_proj_HD;
  Tensor o_proj_DH;  // [D, heads * C]
  // Over whole projections; undefined where the family has none.
  Tensor q_norm_H;
  Tensor k_norm_H;

  // The anchor's FFN. Undefined in mixtures that are not made from an anchor.
  Ffn ffn;

  // All experts, in order; empty: a dense layer. An expert that is nullopt
  // stands for the anchor's FFN: the public expert 0 of our own models, and
  // every expert whose width is 0 here.
  std::vector<std::optional<Ffn>> experts;
  Tensor router_ED;      // fp32; row 0 of our own models is public: zeros
  Tensor router_bias_E;  // fp32; undefined: none

  bool loaded() const { return post_attention_norm_D.defined(); }
  // False where the layer is computed as the anchor's own: no experts, or
  // all of them stand for its FFN.
  bool routes() const;
};

struct CausalLm {
  // Of the anchor for our own models (no experts), else of the mixture.
  model_format::ModelConfig config;
  Tensor embed_VD;  // undefined when LoadOptions left it out
  Tensor final_norm_D;
  Tensor head_VD;  // the same storage as embed_VD when they are tied
  std::vector<DecoderLayer> layers;

  // Experts chosen per token (at most E are), and whether their weights are
  // divided by their sum.
  int64_t top_k = 2;
  // Every token chooses the public expert and top_k - 1 of the others. Formats
  // cannot say this: for evaluations.
  bool force_public = false;
  bool renormalise = true;
  // Names of the experts beside the public one, in their order.
  std::vector<std::string> expert_names;

  // Angular frequency of each pair of a head's channels, fp32 [C / 2].
  Tensor rope_frequencies;

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
  // Experts with the public one; 0 for a dense model.
  int64_t num_experts() const;
  at::Device device() const { return final_norm_D.device(); }
};

// What a caller may look at while layers run. The tensors are those of the
// computation itself: detach before keeping, never write.
struct Hooks {
  // The input of the FFN or MoE (in pre-norm families after the norm) [T, D].
  std::function<void(int64_t layer, const Tensor& x_TD)> moe_input;
  // The input of down_proj: of the anchor's FFN (expert 0), or of an expert
  // for the tokens that chose it, in ascending order of tokens [T', F].
  std::function<void(int64_t layer, int64_t expert, const Tensor& a_TF)>
      down_input;
  // Probabilities over all experts, and ids and weights of the chosen ones.
  std::function<void(int64_t layer, const Tensor& p_TE, const Tensor& ids_TK,
                     const Tensor& weights_TK)>
      routing;
};

// Keys and values of the positions seen so far, per layer
// [B, kv heads, capacity, C].
struct KvCache {
  std::vector<Tensor> keys;
  std::vector<Tensor> values;
  int64_t length = 0;    // positions seen
  int64_t capacity = 0;  // positions that there is room for

  static KvCache Create(const CausalLm& lm, int64_t batch, int64_t capacity);
};

// All functions below throw c10::Error as LibTorch does, for wrong shapes and
// lack of memory; errors.h turns that into a status. They record gradients
// when a tensor requires them and grad mode is on.

// Token ids (int32 or int64 [B, S]) to the residual stream [B, S, D].
Tensor Embed(const CausalLm& lm, const Tensor& ids_BS);

struct RunOptions {
  const Hooks* hooks = nullptr;
  // Continues behind the cached positions and adds to them; the caller
  // advances `length` after the last layer. No gradients.
  KvCache* cache = nullptr;
  // Number of the document that each position of a packed window belongs to,
  // ascending (int32 or int64 [B, S], on the host): attention stays within
  // documents. Undefined: a window is one document. Not with a cache.
  Tensor documents_BS;
};

// Layers [first, end) of the residual stream: the trunk is [0, l0), the rest
// [l0, num_layers()).
Tensor RunLayers(const CausalLm& lm, Tensor x_BSD, int64_t first, int64_t end,
                 const RunOptions& options = {});

// The last norm. Its output is the input of the head.
Tensor FinalNorm(const CausalLm& lm, const Tensor& x_BSD);

// Logits [.., V] of normalised states [.., D].
Tensor Logits(const CausalLm& lm, const Tensor& x_BSD);

// Embed, all layers, the last norm: [B, S] to [B, S, D].
Tensor HiddenStates(const CausalLm& lm, const Tensor& ids_BS,
                    const RunOptions& options = {});

// Negative log-likelihood [T] of `targets_T` (int64), nats, under the head
// applied to `hidden_TD`; never holds more than a chunk of logits. Gradients
// reach hidden_TD only: the head is frozen.
Tensor TokenLogLoss(const CausalLm& lm, const Tensor& hidden_TD,
                    const Tensor& targets_T);

}  // namespace tributary::model
