#pragma once

// An anchor's config, an expert file for it and keys, for the tests of this
// side. The anchor: 2 layers, hidden size 16, FFN 64 in blocks of 64.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/crypto/key.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/model_config.h"
#include "common/safetensors/writer.h"
#include "contributor/cache/home.h"
#include "contributor/egress/report.h"
#include "gtest/gtest.h"

namespace tributary::contributor {

inline constexpr char kTestConfig[] = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama",
  "vocab_size": 64, "hidden_size": 16, "intermediate_size": 64,
  "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
  "head_dim": 8, "hidden_act": "silu", "max_position_embeddings": 128,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
  "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2})";

// Writes an expert of that width in layer 1, every byte `fill`.
inline void WriteTestExpert(const std::filesystem::path& path, int64_t width,
                            unsigned char fill) {
  const auto config = model_format::ParseModelConfig(kTestConfig);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto specs = model_format::ExpertTensors(
      *config, model_format::ExpertLayout::Uniform(2, 1, width));
  ASSERT_TRUE(specs.ok()) << specs.status();
  std::vector<std::vector<std::byte>> data;
  for (const auto& spec : *specs) {
    data.emplace_back(*safetensors::TensorBytes(spec),
                      static_cast<std::byte>(fill));
  }
  std::vector<safetensors::TensorView> tensors;
  for (size_t i = 0; i < specs->size(); ++i) {
    tensors.push_back({(*specs)[i], data[i]});
  }
  ASSERT_TRUE(safetensors::WriteFile(path, tensors).ok());
}

class EgressFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("egress-test");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    home_ = std::make_unique<Home>(folder_->path() / "home");
    anchor_ = folder_->path() / "anchor";
    expert_ = folder_->path() / "export.safetensors";
    ASSERT_TRUE(MakeDirectories(home_->root()).ok());
    ASSERT_TRUE(MakeDirectories(anchor_).ok());
    ASSERT_TRUE(WriteFileAtomic(anchor_ / "config.json", kTestConfig).ok());
    WriteTestExpert(expert_, 64, 0x3c);
    auto key = crypto::PrivateKey::Generate();
    ASSERT_TRUE(key.ok());
    key_.emplace(*std::move(key));
  }

  EgressInputs Inputs() const {
    EgressInputs inputs;
    inputs.federation = "test";
    inputs.contributor = "site-a";
    inputs.contribution = "letters";
    inputs.destination = "localhost:1";
    inputs.anchor_name = "anchors/tiny";
    inputs.anchor_digest = std::string(64, 'a');
    inputs.anchor_directory = anchor_;
    inputs.expert_file = expert_;
    inputs.method.recipe = "train";
    inputs.method.importance = "l2-of-window-mean-abs";
    inputs.method.router_method = "logistic";
    inputs.method.folded = true;
    inputs.method.steps = 8;
    inputs.method.tokens = 4096;
    inputs.method.documents = 20;
    inputs.method.epochs = 2;
    inputs.method.learning_rate = 1e-3;
    inputs.method.train_loss_first = 5;
    inputs.method.train_loss_last = 4;
    inputs.method.heldout_log_loss_anchor = 5;
    inputs.method.heldout_log_loss_own = 4.5;
    inputs.method.text_share = 1;
    inputs.method.software = "test";
    inputs.sources = {"/data/letters.jsonl"};
    inputs.losses = {{"own", "anchor", 5.0, 100}, {"own", "own", 4.5, 100}};
    return inputs;
  }

  std::optional<TemporaryDirectory> folder_;
  std::unique_ptr<Home> home_;
  std::filesystem::path anchor_;
  std::filesystem::path expert_;
  std::optional<crypto::PrivateKey> key_;
};

}  // namespace tributary::contributor
