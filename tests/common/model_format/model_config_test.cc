#include "common/model_format/model_config.h"

#include <vector>

#include "common/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/model_format/test_configs.h"

namespace tributary::model_format {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

StatusOr<ModelConfig> Parse(const json& config) {
  return ParseModelConfig(config.dump());
}

std::string MessageOf(const json& config) {
  return std::string(Parse(config).status().message());
}

TEST(ModelConfig, Llama) {
  const auto config = Parse(LlamaJson());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->type, ModelType::kLlama);
  EXPECT_EQ(config->block, BlockForm::kPreNorm);
  EXPECT_EQ(config->qk_norm, QkNorm::kNone);
  EXPECT_EQ(config->norm_cast, NormCast::kBeforeWeight);
  EXPECT_EQ(config->vocab_size, 64);
  EXPECT_EQ(config->hidden_size, 32);
  EXPECT_EQ(config->intermediate_size, 384);
  EXPECT_EQ(config->num_layers, 2);
  EXPECT_EQ(config->num_heads, 4);
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->max_position_embeddings, 128);
  EXPECT_EQ(config->rms_norm_eps, 1e-5);
  EXPECT_EQ(config->rope.theta, 100000.0);
  EXPECT_EQ(config->rope.scaling, RopeScaling::kNone);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config->pad_token_id, std::nullopt);
  EXPECT_FALSE(config->is_moe());
  EXPECT_TRUE(MergedNormTopkProb(*config));
}

TEST(ModelConfig, Families) {
  const auto olmo2 = Parse(Olmo2Json());
  ASSERT_TRUE(olmo2.ok()) << olmo2.status();
  EXPECT_EQ(olmo2->block, BlockForm::kPostNorm);
  EXPECT_EQ(olmo2->qk_norm, QkNorm::kWholeProjection);
  EXPECT_EQ(olmo2->norm_cast, NormCast::kAfterWeight);
  EXPECT_EQ(olmo2->rope.theta, 500000.0);
  EXPECT_FALSE(MergedNormTopkProb(*olmo2));
  const auto mixtral = Parse(MixtralJson());
  ASSERT_TRUE(mixtral.ok()) << mixtral.status();
  EXPECT_EQ(mixtral->num_experts, 3);
  EXPECT_EQ(mixtral->top_k, 2);
  EXPECT_TRUE(mixtral->norm_topk_prob);
  EXPECT_EQ(mixtral->block, BlockForm::kPreNorm);
  const auto flex = Parse(FlexOlmoJson());
  ASSERT_TRUE(flex.ok()) << flex.status();
  EXPECT_EQ(flex->block, BlockForm::kPostNorm);
  EXPECT_FALSE(flex->norm_topk_prob);
  const auto olmoe = Parse(FlexOlmoJson("olmoe"));
  ASSERT_TRUE(olmoe.ok()) << olmoe.status();
  EXPECT_EQ(olmoe->block, BlockForm::kPreNorm);
  EXPECT_EQ(olmoe->qk_norm, QkNorm::kWholeProjection);
  EXPECT_EQ(olmoe->norm_cast, NormCast::kBeforeWeight);
  for (const auto type : {ModelType::kLlama, ModelType::kOlmo2,
                          ModelType::kMixtral, ModelType::kFlexOlmo}) {
    EXPECT_FALSE(ModelTypeName(type).empty());
  }
}

TEST(ModelConfig, RopeOfBothMajorVersions) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  json old_style = LlamaJson();
  old_style["rope_scaling"] = llama3;
  json new_style = LlamaJson();
  new_style.erase("rope_theta");
  new_style.erase("rope_scaling");
  new_style["rope_parameters"] = llama3;
  new_style["rope_parameters"]["rope_theta"] = 100000.0;
  const auto a = Parse(old_style);
  const auto b = Parse(new_style);
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(a->rope.scaling, RopeScaling::kLlama3);
  EXPECT_EQ(a->rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(a->rope, b->rope);

  json linear = LlamaJson();
  linear["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  EXPECT_EQ(Parse(linear)->rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(Parse(linear)->rope.factor, 2.0);

  // Where both are given, rope_parameters counts, as in transformers 5.
  json both = LlamaJson();
  both["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  EXPECT_EQ(Parse(both)->rope.theta, 5e5);

  json none = MixtralJson();
  none.erase("rope_theta");
  EXPECT_EQ(Parse(none)->rope.theta, 1e6);
}

TEST(ModelConfig, Defaults) {
  json config = LlamaJson();
  for (const char* key : {"num_key_value_heads", "tie_word_embeddings",
                          "bos_token_id", "initializer_range"}) {
    config.erase(key);
  }
  config["eos_token_id"] = {2, 5};
  config["head_dim"] = 16;
  const auto parsed = Parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->num_kv_heads, 4);
  EXPECT_EQ(parsed->head_dim, 16);
  EXPECT_FALSE(parsed->tie_word_embeddings);
  EXPECT_EQ(parsed->bos_token_id, std::nullopt);
  EXPECT_THAT(parsed->eos_token_ids, ElementsAre(2, 5));
}

TEST(ModelConfig, MissingKeysAreNamed) {
  for (const char* key :
       {"model_type", "vocab_size", "hidden_size", "intermediate_size",
        "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
        "rms_norm_eps", "num_local_experts", "num_experts_per_tok",
        "num_key_value_heads"}) {
    json config = MixtralJson();
    config.erase(key);
    const auto parsed = Parse(config);
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << key;
    EXPECT_THAT(std::string(parsed.status().message()),
                AllOf(HasSubstr(key), HasSubstr("missing")));
  }
}

TEST(ModelConfig, UnsupportedSettingsAreNamed) {
  const std::vector<std::pair<std::string, json>> cases = {
      {"model_type", "gpt2"},
      {"attention_bias", true},
      {"mlp_bias", true},
      {"hidden_act", "gelu"},
      {"sliding_window", 4096},
      {"clip_qkv", 8.0},
      {"rope_interleaved", true},
      {"partial_rotary_factor", 0.5},
      {"quantization_config", {{"bits", 4}}},
      {"layer_types", {"full_attention", "sliding_attention"}},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}},
      {"rope_scaling", {{"type", "dynamic"}, {"factor", 4.0}}},
      {"rope_parameters",
       {{"full_attention", {{"rope_type", "default"}, {"rope_theta", 1e4}}}}},
  };
  for (const auto& [key, value] : cases) {
    json config = LlamaJson();
    config[key] = value;
    const auto parsed = Parse(config);
    EXPECT_TRUE(absl::IsUnimplemented(parsed.status()))
        << key << " " << parsed.status();
    const std::string name = key == "rope_scaling" ? "rope_type" : key;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(name));
  }
}

TEST(ModelConfig, WrongValuesAreNamed) {
  const std::vector<std::pair<std::string, json>> cases = {
      {"vocab_size", "64"},       {"vocab_size", 0},
      {"hidden_size", 64.0},      {"hidden_size", 30},
      {"num_hidden_layers", -1},  {"num_hidden_layers", 1e12},
      {"num_key_value_heads", 3}, {"head_dim", 7},
      {"tie_word_embeddings", 1}, {"rms_norm_eps", 0},
      {"rms_norm_eps", "small"},  {"rope_theta", 0.5},
      {"rope_theta", "big"},      {"rope_scaling", 2.0},
      {"eos_token_id", "x"},      {"eos_token_id", {1, "x"}},
      {"bos_token_id", -1},
  };
  for (const auto& [key, value] : cases) {
    json config = LlamaJson();
    config[key] = value;
    EXPECT_TRUE(absl::IsInvalidArgument(Parse(config).status()))
        << key << " " << Parse(config).status();
    EXPECT_THAT(MessageOf(config), HasSubstr(key));
  }
  json top_k = MixtralJson();
  top_k["num_experts_per_tok"] = 4;
  EXPECT_THAT(MessageOf(top_k), HasSubstr("num_experts_per_tok"));
  json factor = LlamaJson();
  factor["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8.0}};
  EXPECT_THAT(MessageOf(factor), HasSubstr("low_freq_factor"));
}

TEST(ModelConfig, NotJson) {
  for (const char* text : {"", "{", "[]", "3", "{\"a\":\xff}"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseModelConfig(text).status()));
  }
}

TEST(ModelConfig, LoadNamesTheDirectory) {
  const auto folder = TemporaryDirectory::Create("config");
  ASSERT_TRUE(folder.ok());
  EXPECT_TRUE(absl::IsNotFound(LoadModelConfig(folder->path()).status()));
  ASSERT_TRUE(WriteFileAtomic(folder->path() / "config.json", "{}").ok());
  EXPECT_THAT(std::string(LoadModelConfig(folder->path()).status().message()),
              HasSubstr(folder->path().string()));
  ASSERT_TRUE(
      WriteFileAtomic(folder->path() / "config.json", LlamaJson().dump()).ok());
  EXPECT_TRUE(LoadModelConfig(folder->path()).ok());
}

}  // namespace
}  // namespace tributary::model_format
