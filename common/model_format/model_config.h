#pragma once

// config.json of a Hugging Face model directory as a plain struct.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tributary::model_format {

enum class ModelType { kLlama, kOlmo2, kMixtral, kOlmoe, kFlexOlmo };

// "llama", "olmo2", "mixtral", "olmoe", "flex_olmo".
std::string_view ModelTypeName(ModelType type);

enum class BlockForm {
  kPreNorm,   // h1 = x + Attn(norm(x)),  y = h1 + FFN(norm(h1))
  kPostNorm,  // h1 = x + norm(Attn(x)),  y = h1 + norm(FFN(h1))
};

enum class QkNorm {
  kNone,
  kWholeProjection,  // RMSNorm over all heads of q and of k, before the split
};

// When the cast back to the input's dtype happens in RMSNorm.
enum class NormCast { kBeforeWeight, kAfterWeight };

enum class RopeScaling { kNone, kLinear, kLlama3 };

struct Rope {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;  // linear and llama3
  // llama3 only
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 0;

  friend bool operator==(const Rope&, const Rope&) = default;
};

// Everything that decides what the model computes.
struct ModelConfig {
  ModelType type = ModelType::kLlama;
  BlockForm block = BlockForm::kPreNorm;
  QkNorm qk_norm = QkNorm::kNone;
  NormCast norm_cast = NormCast::kBeforeWeight;

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of the dense FFN, or of one expert
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double initializer_range = 0.02;
  Rope rope;
  bool tie_word_embeddings = false;

  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;
  std::vector<int64_t> eos_token_ids;  // config.json has one, several or null

  // Mixtures only; 0 experts for dense models.
  int64_t num_experts = 0;
  int64_t top_k = 0;
  bool norm_topk_prob = false;  // weights of the chosen divided by their sum

  bool is_moe() const { return num_experts > 0; }

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Parses config.json of transformers 4 or 5. INVALID_ARGUMENT for bad JSON, a
// missing key or a wrong type; UNIMPLEMENTED for an unknown model_type or a
// setting that changes the computation in a way this project does not know
// (attention_bias, sliding_window, an activation other than silu, ...): the
// message names key and value.
StatusOr<ModelConfig> ParseModelConfig(std::string_view json);

// Reads and parses `directory`/config.json.
StatusOr<ModelConfig> LoadModelConfig(const std::filesystem::path& directory);

// The renormalisation that a merge over this anchor has: Mixtral's for anchors
// that norm before a block, FlexOlmo's default for those that norm behind it.
// Mixtures answer with their own setting.
bool MergedNormTopkProb(const ModelConfig& anchor);

// A mixture made from an anchor's trunk, as an exported config names it.
struct MixtureShape {
  int64_t num_experts = 0;
  int64_t top_k = 0;
  int64_t intermediate_size = 0;  // the width all experts are padded to
  bool norm_topk_prob = false;
};

// config.json, canonical text, of a mixture over `anchor`: model_type mixtral
// for a llama anchor, flex_olmo for an olmo2 anchor; both transformers 4 and 5
// read it alike. `dtype` as in config.json: "bfloat16", "float32".
// INVALID_ARGUMENT for another anchor, or a llama anchor without norm_topk_prob
// (Mixtral always renormalises).
StatusOr<std::string> MixtureConfigJson(const ModelConfig& anchor,
                                        const MixtureShape& mixture,
                                        std::string_view dtype);

}  // namespace tributary::model_format
