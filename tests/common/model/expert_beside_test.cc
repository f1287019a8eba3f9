// Experts given as differences to the anchor, and channels found again.

#include "common/model/expert_beside.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>

#include "common/base/files.h"
#include "common/model/channel_match.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"
#include "tests/common/model/test_models.h"

namespace tributary::model {
namespace {

using model_format::MlpPart;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kRank = 3;

class ExpertBesideTest : public ::testing::Test {
 protected:
  // The tiny anchor is 128 wide with FFNs of 384; layer 2 is given as factors,
  // layer 3 as matrices.
  void SetUp() override {
    auto loaded = LoadModel(TinyAnchor());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    anchor_ = *std::move(loaded);
    at::manual_seed(2);
    for (int64_t l = 0; l < 4; ++l) {
      for (const auto& [part, rows, columns] :
           {std::tuple{MlpPart::kGate, 384, 128},
            std::tuple{MlpPart::kUp, 384, 128},
            std::tuple{MlpPart::kDown, 128, 384}}) {
        if (l == 2) {
          Add(model_format::ExpertFactorA(l, part), {kRank, columns});
          Add(model_format::ExpertFactorB(l, part), {rows, kRank});
        } else if (l == 3) {
          Add(model_format::ExpertMlp(l, part), {rows, columns});
        }
      }
      tensors_.emplace_back(model_format::RouterWeight(l), at::randn({128}));
      tensors_.emplace_back(model_format::RouterBias(l), at::zeros({}));
    }
  }

  void Add(const std::string& name, at::IntArrayRef shape) {
    tensors_.emplace_back(name, (at::randn(shape) * 0.05).to(at::kBFloat16));
  }

  Tensor Named(const std::string& name) const {
    const auto found =
        std::find_if(tensors_.begin(), tensors_.end(),
                     [&](const auto& tensor) { return tensor.first == name; });
    return found->second.to(at::kDouble);
  }

  std::filesystem::path Write() const {
    const auto path = folder_.path() / "expert.safetensors";
    EXPECT_TRUE(WriteTensors(path, tensors_).ok());
    return path;
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("beside");
  CausalLm anchor_;
  NamedTensors tensors_;
};

TEST_F(ExpertBesideTest, FactorsBecomeTheMatricesThatTheyStandFor) {
  const auto expert = LoadExpertBeside(anchor_, Write());
  ASSERT_TRUE(expert.ok()) << expert.status();
  EXPECT_THAT(expert->widths(), ElementsAre(0, 0, 384, 384));
  const Ffn& base = anchor_.layers[2].ffn;
  const Ffn& made = *expert->layers[2];
  for (const auto& [part, of, got] :
       {std::tuple{MlpPart::kGate, base.gate_FD, made.gate_FD},
        std::tuple{MlpPart::kUp, base.up_FD, made.up_FD},
        std::tuple{MlpPart::kDown, base.down_DF, made.down_DF}}) {
    const Tensor wanted = of.to(at::kDouble) +
                          Named(model_format::ExpertFactorB(2, part))
                              .mm(Named(model_format::ExpertFactorA(2, part)));
    EXPECT_TRUE(
        at::equal(got, wanted.to(at::kFloat).to(at::kBFloat16).to(at::kFloat)));
    EXPECT_FALSE(at::equal(got, of));
  }
  CausalLm lm = anchor_;
  EXPECT_TRUE(AttachExpert(lm, *expert).ok());
  EXPECT_EQ(lm.num_experts(), 2);
}

TEST_F(ExpertBesideTest, FactorsNeedTheirAnchorAndEachOther) {
  EXPECT_TRUE(
      absl::IsFailedPrecondition(LoadExpert(anchor_.config, Write()).status()));
  CausalLm upper = anchor_;
  upper.layers[2] = DecoderLayer();
  EXPECT_TRUE(
      absl::IsFailedPrecondition(LoadExpertBeside(upper, Write()).status()));
  const NamedTensors good = tensors_;
  for (size_t i = 0; i < good.size(); ++i) {
    if (good[i].first.find("lora") == std::string::npos) {
      continue;
    }
    tensors_ = good;
    tensors_.erase(tensors_.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_FALSE(LoadExpertBeside(anchor_, Write()).ok()) << good[i].first;
    tensors_ = good;
    tensors_[i].second = tensors_[i].second.to(at::kFloat);
    EXPECT_THAT(LoadExpertBeside(anchor_, Write()).status().ToString(),
                HasSubstr("wanted BF16"));
  }
}

TEST_F(ExpertBesideTest, ChannelsAreFoundAgain) {
  const Ffn& from = anchor_.layers[1].ffn;
  const Tensor kept = at::randperm(384, at::kLong).narrow(0, 0, 200);
  const auto moved = [&](const Tensor& matrix, int64_t dimension) {
    const Tensor chosen = matrix.index_select(dimension, kept);
    return chosen + at::randn_like(chosen) * chosen.std() * 0.3;
  };
  const std::vector<int64_t> match =
      MatchChannels({.gate_FD = moved(from.gate_FD, 0),
                     .up_FD = moved(from.up_FD, 0),
                     .down_DF = moved(from.down_DF, 1)},
                    from);
  const int64_t* wanted = kept.data_ptr<int64_t>();
  EXPECT_EQ(match, std::vector<int64_t>(wanted, wanted + 200));
  // Of two that are alike only one gets the channel.
  const Ffn twins = {.gate_FD = from.gate_FD.narrow(0, 5, 1).repeat({2, 1}),
                     .up_FD = from.up_FD.narrow(0, 5, 1).repeat({2, 1}),
                     .down_DF = from.down_DF.narrow(1, 5, 1).repeat({1, 2})};
  const auto pair = MatchChannels(twins, from);
  EXPECT_EQ(pair[0], 5);
  EXPECT_NE(pair[1], 5);
}

}  // namespace
}  // namespace tributary::model
