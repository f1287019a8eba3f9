#include "common/model_format/model_config.h"
#include "nlohmann/json.hpp"

namespace tributary::model_format {
namespace {

using nlohmann::json;

json OptionalId(const std::optional<int64_t>& id) {
  return id ? json(*id) : json(nullptr);
}

json EosIds(const std::vector<int64_t>& ids) {
  if (ids.empty()) {
    return nullptr;
  }
  return ids.size() == 1 ? json(ids[0]) : json(ids);
}

// All three spellings, so that transformers 4 and 5 agree.
void AddRope(const Rope& rope, json* config) {
  json scaling = {{"rope_type", "default"}};
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      scaling = {{"rope_type", "linear"}, {"factor", rope.factor}};
      break;
    case RopeScaling::kLlama3:
      scaling = {{"rope_type", "llama3"},
                 {"factor", rope.factor},
                 {"low_freq_factor", rope.low_freq_factor},
                 {"high_freq_factor", rope.high_freq_factor},
                 {"original_max_position_embeddings",
                  rope.original_max_position_embeddings}};
      break;
  }
  (*config)["rope_theta"] = rope.theta;
  (*config)["rope_scaling"] =
      rope.scaling == RopeScaling::kNone ? json(nullptr) : scaling;
  scaling["rope_theta"] = rope.theta;
  (*config)["rope_parameters"] = scaling;
}

}  // namespace

StatusOr<std::string> MixtureConfigJson(const ModelConfig& anchor,
                                        const MixtureShape& mixture,
                                        std::string_view dtype) {
  const bool mixtral = anchor.type == ModelType::kLlama;
  const bool olmoe = anchor.type == ModelType::kOlmoe;
  if (anchor.is_moe() ||
      (!mixtral && !olmoe && anchor.type != ModelType::kOlmo2)) {
    return InvalidArgument(
        "got a model of type {} with {} experts, wanted a dense llama, olmo2 "
        "or olmoe",
        ModelTypeName(anchor.type), anchor.num_experts);
  }
  if (mixtral && !mixture.norm_topk_prob) {
    return InvalidArgument(
        "got routing weights that are not renormalised over a llama anchor: "
        "Mixtral always renormalises, so this model cannot be exported");
  }
  if (mixture.top_k < 1 || mixture.top_k > mixture.num_experts ||
      mixture.intermediate_size < 1) {
    return InvalidArgument(
        "got {} experts of width {}, top-{}; wanted 1 <= top-k <= experts",
        mixture.num_experts, mixture.intermediate_size, mixture.top_k);
  }
  json config = {
      {"attention_dropout", 0.0},
      {"bos_token_id", OptionalId(anchor.bos_token_id)},
      {"dtype", dtype},
      {"eos_token_id", EosIds(anchor.eos_token_ids)},
      {"hidden_act", "silu"},
      {"hidden_size", anchor.hidden_size},
      {"initializer_range", anchor.initializer_range},
      {"intermediate_size", mixture.intermediate_size},
      {"max_position_embeddings", anchor.max_position_embeddings},
      {"num_attention_heads", anchor.num_heads},
      {"num_experts_per_tok", mixture.top_k},
      {"num_hidden_layers", anchor.num_layers},
      {"num_key_value_heads", anchor.num_kv_heads},
      {"output_router_logits", false},
      {"pad_token_id", OptionalId(anchor.pad_token_id)},
      {"rms_norm_eps", anchor.rms_norm_eps},
      {"router_aux_loss_coef", mixtral ? 0.001 : 0.01},
      {"tie_word_embeddings", anchor.tie_word_embeddings},
      {"torch_dtype", dtype},
      {"use_cache", true},
      {"vocab_size", anchor.vocab_size},
  };
  AddRope(anchor.rope, &config);
  if (mixtral) {
    config["architectures"] = {"MixtralForCausalLM"};
    config["model_type"] = "mixtral";
    config["num_local_experts"] = mixture.num_experts;
    config["head_dim"] = anchor.head_dim;
    config["sliding_window"] = nullptr;
  } else {
    config["architectures"] = {olmoe ? "OlmoeForCausalLM"
                                     : "FlexOlmoForCausalLM"};
    config["model_type"] = olmoe ? "olmoe" : "flex_olmo";
    config["num_experts"] = mixture.num_experts;
    config["norm_topk_prob"] = mixture.norm_topk_prob;
    config["attention_bias"] = false;
    if (anchor.head_dim * anchor.num_heads != anchor.hidden_size) {
      config["head_dim"] = anchor.head_dim;
    }
  }
  // nlohmann sorts keys: the text is a function of the values alone.
  return config.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace tributary::model_format
