// Full experts that leave as differences to the anchor.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "common/base/files.h"
#include "common/model/expert_beside.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"
#include "contributor/export/export_expert.h"
#include "tests/common/model/test_models.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using model_format::MlpPart;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kDifference = 4;  // rank of what training changed

class LowRankTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = model::LoadModel(model::TinyAnchor());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    anchor_ = *std::move(loaded);
    at::manual_seed(4);
  }

  // The anchor's FFN of a layer with a difference of low rank added, its
  // channels in another order.
  model::Ffn Changed(int64_t l) {
    const model::Ffn& base = anchor_.layers[static_cast<size_t>(l)].ffn;
    order_ = at::randperm(base.width(), at::kLong);
    const auto change = [](const Tensor& w) {
      return w + at::randn({w.size(0), kDifference})
                         .mm(at::randn({kDifference, w.size(1)})) *
                     (w.std() * 0.1);
    };
    full_ = {.gate_FD = change(base.gate_FD),
             .up_FD = change(base.up_FD),
             .down_DF = change(base.down_DF)};
    return {.gate_FD = full_.gate_FD.index_select(0, order_),
            .up_FD = full_.up_FD.index_select(0, order_),
            .down_DF = full_.down_DF.index_select(1, order_)};
  }

  // Layer 3 alone has weights.
  std::filesystem::path WriteExpert(const model::Ffn& ffn) const {
    model::NamedTensors tensors = {
        {model_format::ExpertMlp(3, MlpPart::kGate), ffn.gate_FD.contiguous()},
        {model_format::ExpertMlp(3, MlpPart::kUp), ffn.up_FD.contiguous()},
        {model_format::ExpertMlp(3, MlpPart::kDown), ffn.down_DF.contiguous()}};
    for (int64_t l = 0; l < 4; ++l) {
      tensors.emplace_back(model_format::RouterWeight(l), at::ones({128}));
      tensors.emplace_back(model_format::RouterBias(l), at::zeros({}));
    }
    const auto path = folder_.path() / "expert.safetensors";
    EXPECT_TRUE(model::WriteTensors(path, tensors).ok());
    return path;
  }

  StatusOr<ExportedExpert> Export(const std::filesystem::path& expert,
                                  int64_t rank) const {
    return ExportExpert({.model_directory = model::TinyAnchor(),
                         .expert_path = expert,
                         .rank = rank},
                        output());
  }

  std::filesystem::path output() const {
    return folder_.path() / "export.safetensors";
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("rank");
  model::CausalLm anchor_;
  Tensor order_;
  model::Ffn full_;
};

TEST_F(LowRankTest, FactorsOfEnoughRankAreTheExpert) {
  const auto exported = Export(WriteExpert(Changed(3)), kDifference);
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_THAT(exported->widths, ElementsAre(0, 0, 0, 384));
  EXPECT_EQ(exported->parameters,
            3 * kDifference * (384 + 128) + 4 * (128 + 1));
  EXPECT_LT(exported->size_bytes, 20'000u);
  const auto read = model::LoadExpertBeside(anchor_, output());
  ASSERT_TRUE(read.ok()) << read.status();
  const model::Ffn& base = anchor_.layers[3].ffn;
  for (const auto& [name, matrix] : {std::pair{"gate", &model::Ffn::gate_FD},
                                     std::pair{"up", &model::Ffn::up_FD},
                                     std::pair{"down", &model::Ffn::down_DF}}) {
    const double difference =
        (full_.*matrix - base.*matrix).norm().item<double>();
    const double error =
        (*read->layers[3].*matrix - full_.*matrix).norm().item<double>();
    // What is left is that bf16 rounds.
    EXPECT_LT(error, 0.1 * difference) << name;
  }
}

TEST_F(LowRankTest, LessRankIsFurtherAway) {
  const auto path = WriteExpert(Changed(3));
  double errors[2] = {};
  for (const int64_t rank : {1, 3}) {
    ASSERT_TRUE(Export(path, rank).ok());
    const auto read = model::LoadExpertBeside(anchor_, output());
    ASSERT_TRUE(read.ok()) << read.status();
    errors[rank / 2] =
        (read->layers[3]->gate_FD - full_.gate_FD).norm().item<double>();
  }
  EXPECT_GT(errors[0], errors[1]);
}

TEST_F(LowRankTest, NeedsTheAnchorsWidth) {
  const model::Ffn full = Changed(3);
  const auto narrow = WriteExpert({.gate_FD = full.gate_FD.narrow(0, 0, 128),
                                   .up_FD = full.up_FD.narrow(0, 0, 128),
                                   .down_DF = full.down_DF.narrow(1, 0, 128)});
  EXPECT_THAT(Export(narrow, 4).status().ToString(),
              HasSubstr("the anchor's width 384"));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Export(WriteExpert(full), 100).status()));  // larger than the matrices
  model::Ffn broken = full;
  broken.up_FD = full.up_FD.clone();
  broken.up_FD[0][0] = std::nanf("");
  EXPECT_TRUE(absl::IsInvalidArgument(Export(WriteExpert(broken), 4).status()));
}

}  // namespace
}  // namespace tributary::contributor
