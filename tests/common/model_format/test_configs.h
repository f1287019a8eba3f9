#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace tributary::model_format {

// Small configs as transformers 4 writes them.
inline nlohmann::json LlamaJson() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 64},
          {"hidden_size", 32},
          {"intermediate_size", 384},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 128},
          {"initializer_range", 0.02},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", true},
          {"rope_theta", 100000.0},
          {"rope_scaling", nullptr},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"pad_token_id", nullptr},
          {"torch_dtype", "bfloat16"}};
}

inline nlohmann::json Olmo2Json() {
  nlohmann::json config = LlamaJson();
  config["model_type"] = "olmo2";
  config["architectures"] = {"Olmo2ForCausalLM"};
  config["tie_word_embeddings"] = false;
  config["rope_theta"] = 500000;
  return config;
}

inline nlohmann::json MixtralJson() {
  nlohmann::json config = LlamaJson();
  config["model_type"] = "mixtral";
  config["architectures"] = {"MixtralForCausalLM"};
  config["num_local_experts"] = 3;
  config["num_experts_per_tok"] = 2;
  config["sliding_window"] = nullptr;
  return config;
}

inline nlohmann::json FlexOlmoJson(const std::string& type = "flex_olmo") {
  nlohmann::json config = Olmo2Json();
  config["model_type"] = type;
  config["num_experts"] = 3;
  config["num_experts_per_tok"] = 2;
  config["norm_topk_prob"] = false;
  return config;
}

}  // namespace tributary::model_format
