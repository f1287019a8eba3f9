#include <cstdlib>

#include "common/base/files.h"
#include "common/model_format/model_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/model_format/test_configs.h"

namespace tributary::model_format {
namespace {

using nlohmann::json;

constexpr MixtureShape kMixture = {.num_experts = 5,
                                   .top_k = 2,
                                   .intermediate_size = 256,
                                   .norm_topk_prob = true};

TEST(MixtureConfig, MixtralKeysAndTypes) {
  const ModelConfig anchor = *ParseModelConfig(LlamaJson().dump());
  const auto text = MixtureConfigJson(anchor, kMixture, "bfloat16");
  ASSERT_TRUE(text.ok()) << text.status();
  const json config = json::parse(*text);
  EXPECT_EQ(config["architectures"], json({"MixtralForCausalLM"}));
  EXPECT_EQ(config["num_local_experts"], 5);
  EXPECT_TRUE(config["head_dim"].is_number_integer());
  EXPECT_TRUE(config["sliding_window"].is_null());
  EXPECT_TRUE(config["attention_dropout"].is_number_float());
  EXPECT_TRUE(config["rope_theta"].is_number_float());
  EXPECT_TRUE(config["rope_scaling"].is_null());
  EXPECT_EQ(config["rope_parameters"],
            json({{"rope_type", "default"}, {"rope_theta", 100000.0}}));
  EXPECT_TRUE(config.contains("pad_token_id"));
  EXPECT_EQ(config["dtype"], config["torch_dtype"]);
  EXPECT_FALSE(config.contains("num_experts"));
  EXPECT_EQ(*text, *MixtureConfigJson(anchor, kMixture, "bfloat16"));
}

TEST(MixtureConfig, IsReadBack) {
  for (const json& source : {LlamaJson(), Olmo2Json()}) {
    json with_scaling = source;
    with_scaling["rope_scaling"] = {{"rope_type", "llama3"},
                                    {"factor", 8.0},
                                    {"low_freq_factor", 1.0},
                                    {"high_freq_factor", 4.0},
                                    {"original_max_position_embeddings", 64}};
    for (const json& config : {source, with_scaling}) {
      const ModelConfig anchor = *ParseModelConfig(config.dump());
      const auto text = MixtureConfigJson(anchor, kMixture, "float32");
      ASSERT_TRUE(text.ok()) << text.status();
      ModelConfig wanted = anchor;
      wanted.type = anchor.type == ModelType::kLlama ? ModelType::kMixtral
                                                     : ModelType::kFlexOlmo;
      wanted.num_experts = 5;
      wanted.top_k = 2;
      wanted.norm_topk_prob = true;
      wanted.intermediate_size = 256;
      const auto got = ParseModelConfig(*text);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(*got, wanted);
    }
  }
}

TEST(MixtureConfig, Refuses) {
  const ModelConfig llama = *ParseModelConfig(LlamaJson().dump());
  MixtureShape plain = kMixture;
  plain.norm_topk_prob = false;
  EXPECT_FALSE(MixtureConfigJson(llama, plain, "float32").ok());
  MixtureShape top_k = kMixture;
  top_k.top_k = 6;
  EXPECT_FALSE(MixtureConfigJson(llama, top_k, "float32").ok());
  const ModelConfig mixtral = *ParseModelConfig(MixtralJson().dump());
  EXPECT_FALSE(MixtureConfigJson(mixtral, kMixture, "float32").ok());
}

// transformers reads what we write, and we read what it writes.
TEST(MixtureConfig, AgreesWithTransformers) {
  const auto folder = TemporaryDirectory::Create("transformers");
  ASSERT_TRUE(folder.ok());
  const auto write = [&](const std::string& name, const std::string& text) {
    ASSERT_TRUE(MakeDirectories(folder->path() / name).ok());
    ASSERT_TRUE(
        WriteFileAtomic(folder->path() / name / "config.json", text).ok());
  };
  const ModelConfig llama = *ParseModelConfig(LlamaJson().dump());
  const ModelConfig olmo2 = *ParseModelConfig(Olmo2Json().dump());
  write("mixtral", *MixtureConfigJson(llama, kMixture, "bfloat16"));
  write("flex_olmo", *MixtureConfigJson(olmo2, kMixture, "bfloat16"));
  const std::string script = R"(
import sys
from transformers import (AutoConfig, FlexOlmoConfig, LlamaConfig,
                          MixtralConfig, Olmo2Config, OlmoeConfig)
folder = sys.argv[1]
m = AutoConfig.from_pretrained(folder + "/mixtral")
assert type(m) is MixtralConfig
assert (m.num_local_experts, m.num_experts_per_tok) == (5, 2)
assert (m.hidden_size, m.intermediate_size, m.head_dim) == (32, 256, 8)
assert m.rope_parameters["rope_theta"] == 100000.0
f = AutoConfig.from_pretrained(folder + "/flex_olmo")
assert type(f) is FlexOlmoConfig
assert (f.num_experts, f.norm_topk_prob, f.pad_token_id) == (5, True, None)
assert f.rope_parameters["rope_theta"] == 500000.0
shared = dict(vocab_size=64, hidden_size=32, intermediate_size=384,
              num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=128,
              pad_token_id=None, bos_token_id=1, eos_token_id=2,
              rope_parameters={"rope_type": "default", "rope_theta": 77777.0})
for cls in (LlamaConfig, Olmo2Config, MixtralConfig, OlmoeConfig,
            FlexOlmoConfig):
    cls(**shared).save_pretrained(folder + "/theirs_" + cls.model_type)
)";
  ASSERT_TRUE(WriteFileAtomic(folder->path() / "script.py", script).ok());
  const std::string command =
      fmt::format("{} {}/script.py {}", TRIBUTARY_PYTHON,
                  folder->path().string(), folder->path().string());
  ASSERT_EQ(std::system(command.c_str()), 0);
  for (const ModelType type :
       {ModelType::kLlama, ModelType::kOlmo2, ModelType::kMixtral,
        ModelType::kOlmoe, ModelType::kFlexOlmo}) {
    const auto config = LoadModelConfig(
        folder->path() / fmt::format("theirs_{}", ModelTypeName(type)));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->type, type);
    EXPECT_EQ(config->rope.theta, 77777.0);
    EXPECT_EQ(config->num_kv_heads, 2);
    EXPECT_EQ(config->is_moe(),
              type != ModelType::kLlama && type != ModelType::kOlmo2);
  }
}

}  // namespace
}  // namespace tributary::model_format
