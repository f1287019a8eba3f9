#include "common/model_format/hf_directory.h"

#include <functional>

#include "common/base/files.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/model_format/test_configs.h"

namespace tributary::model_format {
namespace {

using nlohmann::json;
using safetensors::DType;
using safetensors::TensorSpec;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class HfDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("hf");
    ASSERT_TRUE(folder.ok());
    folder_ = std::make_unique<TemporaryDirectory>(*std::move(folder));
  }
  std::filesystem::path path() const { return folder_->path(); }

  void WriteConfig(const json& config) {
    ASSERT_TRUE(WriteFileAtomic(path() / "config.json", config.dump()).ok());
  }
  static std::vector<TensorSpec> Specs(const json& config) {
    std::vector<TensorSpec> specs;
    for (const ParameterSpec& parameter :
         ModelParameters(*ParseModelConfig(config.dump()))) {
      specs.push_back({parameter.name, DType::kBF16, parameter.shape});
    }
    return specs;
  }
  void WriteTensors(const std::string& name,
                    const std::vector<TensorSpec>& specs, uint8_t value = 0) {
    auto writer = safetensors::Writer::Create(path() / name, specs);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (const TensorSpec& spec : specs) {
      const std::vector<std::byte> bytes(*safetensors::TensorBytes(spec),
                                         std::byte{value});
      ASSERT_TRUE((*writer)->Append(bytes).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
  }
  std::string Message() const {
    return std::string(HfDirectory::Open(path()).status().message());
  }

  std::unique_ptr<TemporaryDirectory> folder_;
};

TEST_F(HfDirectoryTest, OpensEveryFamily) {
  for (const json& config : {LlamaJson(), Olmo2Json(), MixtralJson(),
                             FlexOlmoJson(), FlexOlmoJson("olmoe")}) {
    WriteConfig(config);
    WriteTensors("model.safetensors", Specs(config));
    const auto directory = HfDirectory::Open(path());
    ASSERT_TRUE(directory.ok()) << directory.status();
    EXPECT_TRUE((*directory)->tokenizer_path().empty());
    EXPECT_THAT((*directory)->ModelFiles(),
                ElementsAre("config.json", "model.safetensors"));
    const auto embedding = (*directory)->Find(kEmbedTokens);
    ASSERT_TRUE(embedding.ok());
    EXPECT_EQ(embedding->bytes().size(), 64u * 32 * 2);
    EXPECT_TRUE(absl::IsNotFound((*directory)->Find("x").status()));
  }
}

TEST_F(HfDirectoryTest, FindsExpertsInFusedTensors) {
  for (const json& config : {MixtralJson(), FlexOlmoJson()}) {
    WriteConfig(config);
    const ModelConfig parsed = *ParseModelConfig(config.dump());
    const int64_t h = parsed.hidden_size;
    const int64_t w = parsed.intermediate_size;
    const auto write = [&](int64_t rows) {
      std::vector<TensorSpec> specs;
      for (TensorSpec& spec : Specs(config)) {
        if (spec.name.find(".experts.") == std::string::npos &&
            spec.name.find("gate.weight") == std::string::npos) {
          specs.push_back(spec);
        }
      }
      for (int64_t l = 0; l < parsed.num_layers; ++l) {
        specs.push_back(
            {FusedGateUp(l), DType::kBF16, {parsed.num_experts, rows, h}});
        specs.push_back(
            {FusedDown(l), DType::kBF16, {parsed.num_experts, h, w}});
        specs.push_back(
            {FusedRouter(l), DType::kBF16, {parsed.num_experts, h}});
      }
      WriteTensors("model.safetensors", specs);
    };
    write(2 * w);
    const auto directory = HfDirectory::Open(path());
    ASSERT_TRUE(directory.ok()) << directory.status();
    const auto whole = (*directory)->files()[0]->Find(FusedGateUp(1));
    const auto up =
        (*directory)->Find(MixtureExpert(parsed.type, 1, 2, MlpPart::kUp));
    ASSERT_TRUE(up.ok()) << up.status();
    EXPECT_EQ(up->info->shape, (safetensors::Shape{w, h}));
    EXPECT_EQ(up->info->begin - whole->begin,
              static_cast<uint64_t>(5 * w * h * 2));
    EXPECT_EQ(up->bytes().size(), static_cast<size_t>(w * h * 2));
    write(2 * w + 1);
    EXPECT_THAT(Message(), AllOf(HasSubstr(FusedGateUp(0)),
                                 HasSubstr("config.json implies")));
  }
}

TEST_F(HfDirectoryTest, OpensShards) {
  WriteConfig(LlamaJson());
  ASSERT_TRUE(WriteFileAtomic(path() / "tokenizer.json", "{}").ok());
  const auto specs = Specs(LlamaJson());
  const auto middle = specs.begin() + 7;
  WriteTensors("b.safetensors", {specs.begin(), middle});
  WriteTensors("a.safetensors", {middle, specs.end()});
  json index = {{"weight_map", json::object()}};
  for (size_t i = 0; i < specs.size(); ++i) {
    index["weight_map"][specs[i].name] =
        i < 7 ? "b.safetensors" : "a.safetensors";
  }
  const auto write_index = [&] {
    ASSERT_TRUE(
        WriteFileAtomic(path() / "model.safetensors.index.json", index.dump())
            .ok());
  };
  write_index();
  const auto directory = HfDirectory::Open(path());
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ((*directory)->files().size(), 2u);
  EXPECT_EQ((*directory)->tokenizer_path(), path() / "tokenizer.json");
  EXPECT_THAT((*directory)->ModelFiles(),
              ElementsAre("a.safetensors", "b.safetensors", "config.json",
                          "model.safetensors.index.json", "tokenizer.json"));
  index["weight_map"][specs[0].name] = "../b.safetensors";
  write_index();
  EXPECT_THAT(Message(), HasSubstr("../b.safetensors"));
  index = {{"weight_map", 3}};
  write_index();
  EXPECT_THAT(Message(), HasSubstr("weight_map"));
}

TEST_F(HfDirectoryTest, NamesMissingAndUnexpectedParameters) {
  WriteConfig(LlamaJson());
  auto specs = Specs(LlamaJson());
  specs[1].name = "model.layers.0.input_layernorm.bias";
  WriteTensors("model.safetensors", specs);
  EXPECT_THAT(Message(),
              AllOf(HasSubstr("Missing: model.layers.0.input_layernorm.weight"),
                    HasSubstr("expected: model.layers.0.input_layernorm.bias"),
                    HasSubstr(path().string())));
  // A mixture's config over a dense model's weights.
  WriteConfig(MixtralJson());
  EXPECT_THAT(Message(), AllOf(HasSubstr("mixtral"), HasSubstr("more")));
}

TEST_F(HfDirectoryTest, ChecksShapesAndTypes) {
  WriteConfig(LlamaJson());
  auto specs = Specs(LlamaJson());
  specs[2].shape = {31, 32};
  WriteTensors("model.safetensors", specs);
  EXPECT_THAT(Message(), AllOf(HasSubstr("[31, 32]"), HasSubstr("[32, 32]")));
  specs = Specs(LlamaJson());
  specs[2].dtype = DType::kI16;
  WriteTensors("model.safetensors", specs);
  EXPECT_THAT(Message(), HasSubstr("I16"));
}

TEST_F(HfDirectoryTest, TiedModelsMayRepeatTheSameHeadOnly) {
  WriteConfig(LlamaJson());
  auto specs = Specs(LlamaJson());
  specs.push_back({std::string(kLmHead), DType::kBF16, {64, 32}});
  specs.push_back(
      {"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {4}});
  WriteTensors("model.safetensors", specs);
  EXPECT_TRUE(HfDirectory::Open(path()).ok()) << Message();
  auto writer =
      safetensors::Writer::Create(path() / "model.safetensors", specs);
  ASSERT_TRUE(writer.ok());
  uint8_t value = 0;
  for (const TensorSpec& spec : specs) {
    const std::vector<std::byte> bytes(*safetensors::TensorBytes(spec),
                                       std::byte{value++});
    ASSERT_TRUE((*writer)->Append(bytes).ok());
  }
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_THAT(Message(), HasSubstr("lm_head.weight differs"));
}

TEST_F(HfDirectoryTest, MissingFiles) {
  EXPECT_TRUE(absl::IsNotFound(HfDirectory::Open(path()).status()));
  WriteConfig(LlamaJson());
  EXPECT_TRUE(absl::IsNotFound(HfDirectory::Open(path()).status()));
  EXPECT_THAT(Message(), HasSubstr("model.safetensors"));
  WriteTensors("model.safetensors", Specs(LlamaJson()));
  std::filesystem::resize_file(path() / "model.safetensors", 1000);
  EXPECT_TRUE(absl::IsInvalidArgument(HfDirectory::Open(path()).status()));
}

}  // namespace
}  // namespace tributary::model_format
