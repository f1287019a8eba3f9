#include "common/model_format/model_config.h"

#include <array>

#include "common/base/files.h"
#include "common/model_format/json_fields.h"
#include "nlohmann/json.hpp"

namespace tributary::model_format {
namespace {

using nlohmann::json;

// What follows from the model type alone.
struct Family {
  ModelType type;
  std::string_view name;
  BlockForm block;
  QkNorm qk_norm;
  NormCast norm_cast;
  double default_theta;
  std::string_view experts_key;  // empty: dense
};

constexpr std::array<Family, 5> kFamilies = {{
    {ModelType::kLlama, "llama", BlockForm::kPreNorm, QkNorm::kNone,
     NormCast::kBeforeWeight, 1e4, ""},
    {ModelType::kOlmo2, "olmo2", BlockForm::kPostNorm, QkNorm::kWholeProjection,
     NormCast::kAfterWeight, 1e4, ""},
    {ModelType::kMixtral, "mixtral", BlockForm::kPreNorm, QkNorm::kNone,
     NormCast::kBeforeWeight, 1e6, "num_local_experts"},
    {ModelType::kOlmoe, "olmoe", BlockForm::kPreNorm, QkNorm::kWholeProjection,
     NormCast::kBeforeWeight, 1e4, "num_experts"},
    {ModelType::kFlexOlmo, "flex_olmo", BlockForm::kPostNorm,
     QkNorm::kWholeProjection, NormCast::kAfterWeight, 5e5, "num_experts"},
}};

StatusOr<Family> FindFamily(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string name, fields.String("model_type"));
  for (const Family& family : kFamilies) {
    if (family.name == name) {
      return family;
    }
  }
  return Unimplemented(
      "model_type: got \"{}\", wanted llama, olmo2, mixtral, olmoe or "
      "flex_olmo",
      name);
}

Status Unsupported(std::string_view key, const json& value,
                   std::string_view wanted) {
  return Unimplemented(
      "{}: got {}, but only {} is supported", key,
      value.dump(-1, ' ', false, json::error_handler_t::replace), wanted);
}

// Settings that would change the computation, with the values that do not.
Status CheckUnsupported(const JsonFields& fields) {
  struct Setting {
    std::string_view key;
    json neutral;
  };
  const std::array<Setting, 9> settings = {{
      {"attention_bias", false},
      {"mlp_bias", false},
      {"hidden_act", "silu"},
      {"sliding_window", nullptr},
      {"clip_qkv", nullptr},
      {"rope_interleaved", false},
      {"partial_rotary_factor", 1.0},
      {"quantization_config", nullptr},
      {"is_encoder_decoder", false},
  }};
  for (const Setting& setting : settings) {
    const json* value = fields.Value(setting.key);
    if (value != nullptr && *value != setting.neutral) {
      return Unsupported(setting.key, *value,
                         setting.neutral.is_null() ? std::string("null")
                                                   : setting.neutral.dump());
    }
  }
  if (const json* layers = fields.Value("layer_types")) {
    for (const json& layer : *layers) {
      if (layer != "full_attention") {
        return Unsupported("layer_types", layer, "\"full_attention\"");
      }
    }
  }
  return absl::OkStatus();
}

Status ParseRopeScaling(const json& parameters, Rope* rope) {
  const JsonFields scaling(parameters);
  const std::string_view key = scaling.Has("rope_type") ? "rope_type" : "type";
  std::string type = "default";
  if (scaling.Has(key)) {
    ASSIGN_OR_RETURN(type, scaling.String(key));
  }
  ASSIGN_OR_RETURN(const double partial,
                   scaling.NumberOr("partial_rotary_factor", 1.0));
  if (partial != 1.0) {
    return Unsupported("partial_rotary_factor", partial, "1.0");
  }
  if (type == "default") {
    return absl::OkStatus();
  }
  if (type != "linear" && type != "llama3") {
    return Unsupported("rope_type", type, "default, linear or llama3");
  }
  ASSIGN_OR_RETURN(rope->factor, scaling.Number("factor"));
  if (rope->factor < 1.0) {
    return scaling.Wrong("factor", "a number of at least 1");
  }
  if (type == "linear") {
    rope->scaling = RopeScaling::kLinear;
    return absl::OkStatus();
  }
  rope->scaling = RopeScaling::kLlama3;
  ASSIGN_OR_RETURN(rope->low_freq_factor, scaling.Number("low_freq_factor"));
  ASSIGN_OR_RETURN(rope->high_freq_factor, scaling.Number("high_freq_factor"));
  ASSIGN_OR_RETURN(rope->original_max_position_embeddings,
                   scaling.Size("original_max_position_embeddings"));
  if (rope->low_freq_factor <= 0 ||
      rope->high_freq_factor <= rope->low_freq_factor) {
    return scaling.Wrong("high_freq_factor",
                         "a number above low_freq_factor, which is above 0");
  }
  return absl::OkStatus();
}

// transformers 4 has rope_theta and rope_scaling, transformers 5 has
// rope_parameters with both; where they differ, the order below is version 5's.
StatusOr<Rope> ParseRope(const JsonFields& fields, double default_theta) {
  Rope rope;
  ASSIGN_OR_RETURN(rope.theta, fields.NumberOr("rope_theta", default_theta));
  const json* parameters = nullptr;
  for (const std::string_view key : {"rope_parameters", "rope_scaling"}) {
    if (const json* value = fields.Value(key)) {
      if (!value->is_object()) {
        return fields.Wrong(key, "an object or null");
      }
      if (!value->empty()) {
        parameters = value;
      }
    }
  }
  if (parameters != nullptr) {
    for (const auto& [key, value] : parameters->items()) {
      if (value.is_object()) {
        return Unsupported("rope_parameters", value,
                           "one set of values for all layers");
      }
    }
    ASSIGN_OR_RETURN(
        rope.theta, JsonFields(*parameters).NumberOr("rope_theta", rope.theta));
    RETURN_IF_ERROR(ParseRopeScaling(*parameters, &rope));
  }
  if (!(rope.theta > 1.0)) {
    return InvalidArgument("rope_theta: got {}, wanted a number above 1",
                           rope.theta);
  }
  return rope;
}

Status ParseHeads(const JsonFields& fields, ModelConfig* config) {
  ASSIGN_OR_RETURN(config->num_heads, fields.Size("num_attention_heads"));
  if (config->type == ModelType::kMixtral &&
      !fields.Has("num_key_value_heads")) {
    return fields.Missing("num_key_value_heads");  // its default is 8, not all
  }
  ASSIGN_OR_RETURN(config->num_kv_heads,
                   fields.SizeOr("num_key_value_heads", config->num_heads));
  if (config->num_heads % config->num_kv_heads != 0) {
    return fields.Wrong(
        "num_key_value_heads",
        fmt::format("a divisor of num_attention_heads {}", config->num_heads));
  }
  if (!fields.Has("head_dim") && config->hidden_size % config->num_heads != 0) {
    return fields.Wrong(
        "hidden_size",
        fmt::format("a multiple of num_attention_heads {}", config->num_heads));
  }
  ASSIGN_OR_RETURN(
      config->head_dim,
      fields.SizeOr("head_dim", config->hidden_size / config->num_heads));
  if (config->head_dim % 2 != 0) {
    return InvalidArgument("head_dim: got {}, wanted an even number",
                           config->head_dim);
  }
  return absl::OkStatus();
}

Status ParseMixture(const JsonFields& fields, const Family& family,
                    ModelConfig* config) {
  ASSIGN_OR_RETURN(config->num_experts, fields.Size(family.experts_key));
  ASSIGN_OR_RETURN(config->top_k, fields.Size("num_experts_per_tok"));
  if (config->top_k > config->num_experts) {
    return fields.Wrong(
        "num_experts_per_tok",
        fmt::format("at most {} {}", family.experts_key, config->num_experts));
  }
  if (family.type == ModelType::kMixtral) {
    config->norm_topk_prob = true;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(config->norm_topk_prob,
                   fields.BoolOr("norm_topk_prob", false));
  if (family.type == ModelType::kOlmoe && config->num_experts == 1) {
    // A softmax over one expert is 1: a dense model.
    config->num_experts = config->top_k = 0;
    config->norm_topk_prob = false;
  }
  return absl::OkStatus();
}

Status ParseTokenIds(const JsonFields& fields, ModelConfig* config) {
  ASSIGN_OR_RETURN(config->bos_token_id, fields.OptionalId("bos_token_id"));
  ASSIGN_OR_RETURN(config->pad_token_id, fields.OptionalId("pad_token_id"));
  const json* eos = fields.Value("eos_token_id");
  if (eos == nullptr) {
    return absl::OkStatus();
  }
  if (!eos->is_array()) {
    ASSIGN_OR_RETURN(const auto id, fields.OptionalId("eos_token_id"));
    config->eos_token_ids.push_back(*id);
    return absl::OkStatus();
  }
  for (const json& id : *eos) {
    if (!id.is_number_unsigned()) {
      return fields.Wrong("eos_token_id", "token ids");
    }
    config->eos_token_ids.push_back(id.get<int64_t>());
  }
  return absl::OkStatus();
}

StatusOr<ModelConfig> Parse(const json& document) {
  const JsonFields fields(document);
  ASSIGN_OR_RETURN(const Family family, FindFamily(fields));
  RETURN_IF_ERROR(CheckUnsupported(fields));
  ModelConfig config;
  config.type = family.type;
  config.block = family.block;
  config.qk_norm = family.qk_norm;
  config.norm_cast = family.norm_cast;
  ASSIGN_OR_RETURN(config.vocab_size, fields.Size("vocab_size"));
  ASSIGN_OR_RETURN(config.hidden_size, fields.Size("hidden_size"));
  ASSIGN_OR_RETURN(config.intermediate_size, fields.Size("intermediate_size"));
  ASSIGN_OR_RETURN(config.num_layers, fields.Size("num_hidden_layers"));
  RETURN_IF_ERROR(ParseHeads(fields, &config));
  ASSIGN_OR_RETURN(config.max_position_embeddings,
                   fields.Size("max_position_embeddings"));
  ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Number("rms_norm_eps"));
  if (!(config.rms_norm_eps > 0)) {
    return fields.Wrong("rms_norm_eps", "a positive number");
  }
  ASSIGN_OR_RETURN(config.initializer_range,
                   fields.NumberOr("initializer_range", 0.02));
  ASSIGN_OR_RETURN(config.rope, ParseRope(fields, family.default_theta));
  ASSIGN_OR_RETURN(config.tie_word_embeddings,
                   fields.BoolOr("tie_word_embeddings", false));
  RETURN_IF_ERROR(ParseTokenIds(fields, &config));
  if (!family.experts_key.empty()) {
    RETURN_IF_ERROR(ParseMixture(fields, family, &config));
  }
  return config;
}

}  // namespace

std::string_view ModelTypeName(ModelType type) {
  return kFamilies[static_cast<size_t>(type)].name;
}

StatusOr<ModelConfig> ParseModelConfig(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return InvalidArgument("config.json: is not a JSON object");
  }
  auto config = Parse(document);
  if (!config.ok()) {
    return Annotate(config.status(), "config.json");
  }
  return config;
}

StatusOr<ModelConfig> LoadModelConfig(const std::filesystem::path& directory) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(directory / "config.json", kMaxBytes));
  auto config = ParseModelConfig(text);
  if (!config.ok()) {
    return Annotate(config.status(), directory.string());
  }
  return config;
}

// Pre-norm families as Mixtral; post-norm ones as FlexOlmo does by default.
bool MergedNormTopkProb(const ModelConfig& anchor) {
  return anchor.is_moe() ? anchor.norm_topk_prob
                         : anchor.block == BlockForm::kPreNorm;
}

}  // namespace tributary::model_format
