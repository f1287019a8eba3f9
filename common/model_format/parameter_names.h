#pragma once

// Every checkpoint key of every model family, spelt in this one file.

#include <cstdint>
#include <string>
#include <string_view>

#include "common/model_format/model_config.h"

namespace tributary::model_format {

// The three matrices of a gated MLP: down(silu(gate(x)) * up(x)).
enum class MlpPart { kGate, kUp, kDown };

// Hugging Face checkpoints.
inline constexpr std::string_view kEmbedTokens = "model.embed_tokens.weight";
inline constexpr std::string_view kFinalNorm = "model.norm.weight";
inline constexpr std::string_view kLmHead = "lm_head.weight";

// Parameters of layer `l` that every family has.
std::string QProj(int64_t l);
std::string KProj(int64_t l);
std::string VProj(int64_t l);
std::string OProj(int64_t l);
// RMSNorm over whole q and k projections (olmo2, flex_olmo, olmoe).
std::string QNorm(int64_t l);
std::string KNorm(int64_t l);
// input_layernorm: pre-norm families, before the attention.
std::string InputNorm(int64_t l);
// post_attention_layernorm: before the FFN in pre-norm families, after the
// attention in post-norm families.
std::string PostAttentionNorm(int64_t l);
// post_feedforward_layernorm: post-norm families.
std::string PostFeedforwardNorm(int64_t l);

// The FFN of a dense model (llama, olmo2).
std::string DenseMlp(int64_t l, MlpPart part);
// Expert `e` of a mixture (mixtral: w1, w3, w2; others gate, up, down).
std::string MixtureExpert(ModelType type, int64_t l, int64_t e, MlpPart part);
// The router [E, h] of a mixture.
std::string MixtureRouter(ModelType type, int64_t l);
// The same of all experts at once, as transformers 5 may store them: gate over
// up [E, 2 w, h], down [E, h, w], and the router's name beside them.
std::string FusedGateUp(int64_t l);
std::string FusedDown(int64_t l);
std::string FusedRouter(int64_t l);

// Expert files of this project: gate and up [w_l, h], down [h, w_l], router
// embedding [h], router bias [].
std::string ExpertMlp(int64_t l, MlpPart part);
// The same matrix as a difference of rank r to the anchor's: W0 + B A with A
// [r, columns] and B [rows, r].
std::string ExpertFactorA(int64_t l, MlpPart part);
std::string ExpertFactorB(int64_t l, MlpPart part);
// In expert files [h] and [], in a release's router file [E, h] and [E].
std::string RouterWeight(int64_t l);
std::string RouterBias(int64_t l);

// Files of importance scores: float32 [I].
std::string Importance(int64_t l);

}  // namespace tributary::model_format
