#include "common/model_format/expert_layout.h"

#include "common/model_format/parameter_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/model_format/test_configs.h"

namespace tributary::model_format {
namespace {

using safetensors::DType;
using safetensors::TensorInfo;
using safetensors::TensorSpec;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelConfig Anchor() { return *ParseModelConfig(LlamaJson().dump()); }

std::vector<TensorInfo> Infos(const std::vector<TensorSpec>& specs) {
  std::vector<TensorInfo> infos;
  for (const TensorSpec& spec : specs) {
    infos.push_back({spec.name, spec.dtype, spec.shape, 0, 0});
  }
  return infos;
}

TEST(WidthBlock, IsTheLargestPowerOfTwoUpTo128) {
  EXPECT_EQ(*WidthBlock(1536), 128);
  EXPECT_EQ(*WidthBlock(11008), 128);
  EXPECT_EQ(*WidthBlock(384), 128);
  EXPECT_EQ(*WidthBlock(1376), 32);
  EXPECT_EQ(*WidthBlock(24), 8);
  EXPECT_FALSE(WidthBlock(20).ok());
  EXPECT_FALSE(WidthBlock(0).ok());
  EXPECT_FALSE(WidthBlock(-128).ok());
  EXPECT_EQ(*RoundToBlock(1536, 300), 256);
  EXPECT_EQ(*RoundToBlock(1536, 5), 128);
}

TEST(ExpertLayout, Uniform) {
  const ExpertLayout layout = ExpertLayout::Uniform(4, 2, 128);
  EXPECT_THAT(layout.widths, ElementsAre(0, 0, 128, 128));
  EXPECT_EQ(layout.first_layer(), 2);
  EXPECT_EQ(ExpertLayout::Uniform(4, 4, 128).first_layer(), 4);
}

TEST(ExpertLayout, Checks) {
  const ModelConfig anchor = Anchor();
  EXPECT_TRUE(CheckLayout(anchor, {{0, 384}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{128}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{128, 100}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{128, -128}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{128, 512}}).ok());
  EXPECT_TRUE(CheckLayout(anchor, {{128, 512}}, {.max_width = 512}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{128, 256}}, {.max_width = 128}).ok());
}

TEST(ExpertTensors, AreInOrder) {
  const auto tensors = ExpertTensors(Anchor(), {{0, 128}});
  ASSERT_TRUE(tensors.ok());
  EXPECT_THAT(
      *tensors,
      ElementsAre(
          TensorSpec{"layers.0.router.weight", DType::kF32, {32}},
          TensorSpec{"layers.0.router.bias", DType::kF32, {}},
          TensorSpec{"layers.1.gate_proj.weight", DType::kBF16, {128, 32}},
          TensorSpec{"layers.1.up_proj.weight", DType::kBF16, {128, 32}},
          TensorSpec{"layers.1.down_proj.weight", DType::kBF16, {32, 128}},
          TensorSpec{"layers.1.router.weight", DType::kF32, {32}},
          TensorSpec{"layers.1.router.bias", DType::kF32, {}}));
}

TEST(ReadExpertLayout, FindsWidthsInAnyOrder) {
  const ModelConfig anchor = Anchor();
  for (const ExpertLayout& layout :
       {ExpertLayout{{0, 128}}, ExpertLayout{{384, 256}},
        ExpertLayout{{0, 0}}}) {
    auto infos = Infos(*ExpertTensors(anchor, layout));
    std::reverse(infos.begin(), infos.end());
    const auto read = ReadExpertLayout(anchor, infos);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, layout);
  }
}

TEST(ReadExpertLayout, NamesWhatIsWrong) {
  const ModelConfig anchor = Anchor();
  const auto good = Infos(*ExpertTensors(anchor, {{128, 256}}));
  const auto message = [&](const std::vector<TensorInfo>& infos) {
    const auto read = ReadExpertLayout(anchor, infos);
    EXPECT_TRUE(absl::IsInvalidArgument(read.status()));
    return std::string(read.status().message());
  };
  for (size_t i = 0; i < good.size(); ++i) {
    auto missing = good;
    missing.erase(missing.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_THAT(message(missing),
                AllOf(HasSubstr(good[i].name), HasSubstr("missing")));
    auto dtype = good;
    dtype[i].dtype = DType::kF16;
    EXPECT_THAT(message(dtype),
                AllOf(HasSubstr(good[i].name), HasSubstr("F16")));
    auto renamed = good;
    renamed[i].name = "x";
    EXPECT_THAT(message(renamed), HasSubstr(good[i].name));
  }
  auto extra = good;
  extra.push_back({"layers.2.router.bias", DType::kF32, {}, 0, 0});
  EXPECT_THAT(message(extra), HasSubstr("layers.2.router.bias"));
  auto shape = good;
  shape[1].shape = {128, 31};
  EXPECT_THAT(message(shape), HasSubstr("[128, 31]"));
  auto width = good;
  width[0].shape = {100, 32};
  EXPECT_THAT(message(width), HasSubstr("[100, 32]"));
}

// Layer 1 of the anchor's width 384 as differences of rank 4.
ExpertLayout LowRank() { return {.widths = {128, 384}, .ranks = {0, 4}}; }

TEST(LowRankLayout, HasFactorsInPlaceOfMatrices) {
  const ModelConfig anchor = Anchor();
  const auto tensors = ExpertTensors(anchor, LowRank());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 5u + 8u);
  EXPECT_EQ(
      (*tensors)[5],
      (TensorSpec{"layers.1.gate_proj.lora_A.weight", DType::kBF16, {4, 32}}));
  EXPECT_EQ(
      (*tensors)[6],
      (TensorSpec{"layers.1.gate_proj.lora_B.weight", DType::kBF16, {384, 4}}));
  EXPECT_EQ(
      (*tensors)[9],
      (TensorSpec{"layers.1.down_proj.lora_A.weight", DType::kBF16, {4, 384}}));
  EXPECT_EQ(
      (*tensors)[10],
      (TensorSpec{"layers.1.down_proj.lora_B.weight", DType::kBF16, {32, 4}}));
  uint64_t bytes = 0;
  for (size_t i = 5; i < 11; ++i) {
    bytes += *safetensors::TensorBytes((*tensors)[i]);
  }
  EXPECT_EQ(LayerBytes(32, 384, 4), bytes);
  EXPECT_EQ(LayerBytes(32, 128, 0), 3u * 2 * 128 * 32);
  EXPECT_EQ(CountExpertParameters(anchor, LowRank()).mlp,
            3 * 128 * 32 + 3 * 4 * (384 + 32));
  auto infos = Infos(*tensors);
  std::reverse(infos.begin(), infos.end());
  const auto read = ReadExpertLayout(anchor, infos);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, LowRank());
}

TEST(LowRankLayout, IsCheckedLikeTheOther) {
  const ModelConfig anchor = Anchor();
  const auto good = Infos(*ExpertTensors(anchor, LowRank()));
  for (size_t i = 5; i < 11; ++i) {
    auto missing = good;
    missing.erase(missing.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_FALSE(ReadExpertLayout(anchor, missing).ok()) << good[i].name;
    auto dtype = good;
    dtype[i].dtype = DType::kF32;
    EXPECT_FALSE(ReadExpertLayout(anchor, dtype).ok()) << good[i].name;
    auto shape = good;
    shape[i].shape = {5, 7};
    EXPECT_FALSE(ReadExpertLayout(anchor, shape).ok()) << good[i].name;
  }
  auto huge = good;
  huge[5].shape = {int64_t{1} << 62, 0};
  EXPECT_FALSE(ReadExpertLayout(anchor, huge).ok());
  // A layer cannot have both.
  auto both = good;
  both.push_back({"layers.1.up_proj.weight", DType::kBF16, {384, 32}, 0, 0});
  EXPECT_FALSE(ReadExpertLayout(anchor, both).ok());
  // Only at the anchor's width, and only where it is smaller: 29 * 416 < 12288.
  EXPECT_TRUE(CheckLayout(anchor, {{0, 384}, {0, 29}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{0, 384}, {0, 30}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{0, 128}, {0, 4}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{0, 384}, {0, -1}}).ok());
  EXPECT_FALSE(CheckLayout(anchor, {{0, 384}, {4}}).ok());
}

TEST(Parameters, AreCounted) {
  const ModelConfig anchor = Anchor();
  const ExpertParameters count = CountExpertParameters(anchor, {{0, 128}});
  EXPECT_EQ(count.mlp, 3 * 128 * 32);
  EXPECT_EQ(count.router, 2 * 33);
  EXPECT_EQ(count.total(), count.mlp + count.router);
  // Embeddings (tied), 2 layers of attention, FFN and two norms, last norm.
  EXPECT_EQ(CountModelParameters(anchor),
            64 * 32 + 2 * (32 * 32 * 2 + 2 * 16 * 32 + 3 * 384 * 32 + 64) + 32);
  // SmolLM2-135M.
  auto smol = LlamaJson();
  smol.update({{"vocab_size", 49152},
               {"hidden_size", 576},
               {"intermediate_size", 1536},
               {"num_hidden_layers", 30},
               {"num_attention_heads", 9},
               {"num_key_value_heads", 3}});
  EXPECT_EQ(CountModelParameters(*ParseModelConfig(smol.dump())), 134515008);
}

}  // namespace
}  // namespace tributary::model_format
