#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "common/base/files.h"
#include "common/model/causal_lm.h"
#include "common/model/load.h"
#include "common/model/moe.h"
#include "common/model/runtime.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"
#include "tests/common/model/test_models.h"

namespace tributary::model {
namespace {

using ::testing::HasSubstr;

double MaxDifference(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

class ModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = LoadModel(TinyAnchor());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    anchor_ = *std::move(loaded);
    auto file =
        safetensors::File::Open(Reference("logits.safetensors"),
                                {safetensors::HeaderLimits::ForModel()});
    ASSERT_TRUE(file.ok()) << file.status();
    ids_ = *ReadTokenIds(**file, "input_ids", anchor_.config.vocab_size);
    logits_ = *ReadTensor(**file, "logits");
  }

  static Tensor LogitsOf(const CausalLm& lm, const Tensor& ids) {
    at::NoGradGuard no_gradients;
    return Logits(lm, HiddenStates(lm, ids));
  }

  // The anchor with experts.
  CausalLm With(std::vector<Expert> experts) const {
    CausalLm lm = anchor_;
    for (Expert& expert : experts) {
      EXPECT_TRUE(AttachExpert(lm, std::move(expert)).ok());
    }
    return lm;
  }

  Expert MakeExpert(const std::vector<int64_t>& widths, int seed) const {
    return RandomExpert(anchor_.config, widths, "e" + std::to_string(seed),
                        seed);
  }

  CausalLm anchor_;
  Tensor ids_;
  Tensor logits_;
};

TEST_F(ModelTest, AnchorLogitsEqualTheReference) {
  EXPECT_LT(MaxDifference(LogitsOf(anchor_, ids_), logits_), 1e-4);
}

TEST_F(ModelTest, HooksSeeMoeInputsAndImportanceOfTheReference) {
  const auto inputs =
      safetensors::File::Open(Reference("moe_inputs.safetensors"),
                              {safetensors::HeaderLimits::ForModel()});
  const auto importance =
      safetensors::File::Open(Reference("importance.safetensors"),
                              {safetensors::HeaderLimits::ForModel()});
  ASSERT_TRUE(inputs.ok() && importance.ok());
  const Tensor wanted = *ReadTensor(**inputs, "layers.2.moe_input");
  Hooks hooks;
  int seen = 0;
  hooks.moe_input = [&](int64_t layer, const Tensor& x) {
    if (layer == 2) {
      EXPECT_LT(MaxDifference(x, wanted.flatten(0, 1)), 1e-4);
      ++seen;
    }
  };
  hooks.down_input = [&](int64_t layer, int64_t expert, const Tensor& a) {
    EXPECT_EQ(expert, 0);
    const Tensor mean =
        a.to(at::kDouble).abs().view({ids_.size(0), ids_.size(1), -1}).mean(1);
    const Tensor score = mean.square().sum(0).sqrt();
    const Tensor reference =
        *ReadTensor(**importance, model_format::Importance(layer));
    EXPECT_LT(((score - reference).abs() / reference).max().item<double>(),
              1e-5);
    ++seen;
  };
  at::NoGradGuard no_gradients;
  HiddenStates(anchor_, ids_, {.hooks = &hooks});
  EXPECT_EQ(seen, 5);
}

TEST_F(ModelTest, SixteenBitWeightsInMemoryGiveNearlyTheSame) {
  const auto narrow = LoadModel(TinyAnchor(), {.dtype = at::kBFloat16});
  ASSERT_TRUE(narrow.ok());
  EXPECT_EQ(narrow->layers[0].ffn.up_FD.scalar_type(), at::kBFloat16);
  EXPECT_LT(MaxDifference(LogitsOf(*narrow, ids_), logits_), 1e-4);
}

TEST_F(ModelTest, LayersBelowTheFirstNeedNotBeLoaded) {
  const auto upper = LoadModel(TinyAnchor(), {.first_layer = 2});
  ASSERT_TRUE(upper.ok());
  EXPECT_FALSE(upper->layers[1].loaded());
  at::NoGradGuard no_gradients;
  const Tensor trunk = RunLayers(anchor_, Embed(anchor_, ids_), 0, 2);
  const Tensor top = FinalNorm(*upper, RunLayers(*upper, trunk, 2, 4));
  EXPECT_TRUE(at::equal(Logits(*upper, top), LogitsOf(anchor_, ids_)));
  EXPECT_THROW(RunLayers(*upper, trunk, 1, 4), c10::Error);
}

TEST_F(ModelTest, ExpertsOfWidthZeroAreTheAnchorBitForBit) {
  const CausalLm lm =
      With({MakeExpert({0, 0, 0, 0}, 1), MakeExpert({0, 0, 0, 0}, 2)});
  EXPECT_EQ(lm.num_experts(), 3);
  EXPECT_TRUE(at::equal(LogitsOf(lm, ids_), LogitsOf(anchor_, ids_)));
}

TEST_F(ModelTest, ExpertEqualToTheAnchorsFfnChangesNothing) {
  Expert copy = MakeExpert({384, 384, 384, 384}, 3);
  for (size_t l = 0; l < 4; ++l) {
    copy.layers[l] = anchor_.layers[l].ffn;
  }
  const CausalLm lm = With({copy, MakeExpert({0, 0, 0, 0}, 4)});
  EXPECT_LT(MaxDifference(LogitsOf(lm, ids_), LogitsOf(anchor_, ids_)), 1e-4);
}

TEST_F(ModelTest, AnExpertNobodyChoosesLeavesTheOthersOwnModel) {
  const Expert own = MakeExpert({0, 128, 384, 256}, 5);
  Expert other = MakeExpert({384, 128, 0, 8}, 6);
  for (Tensor& bias : other.router_bias) {
    bias = at::full({}, -1e4);
  }
  const Tensor wanted = LogitsOf(With({own}), ids_);
  EXPECT_GT(MaxDifference(wanted, logits_), 0.05);
  EXPECT_LT(MaxDifference(LogitsOf(With({own, other}), ids_), wanted), 1e-4);
  EXPECT_LT(MaxDifference(LogitsOf(With({other, own}), ids_), wanted), 1e-4);
}

// The definition of the layer, one token and one expert at a time, in fp64.
Tensor SlowMoe(const CausalLm& lm, int64_t l, const Tensor& x_TD,
               const std::vector<std::optional<Ffn>>& experts) {
  const DecoderLayer& layer = lm.layers[l];
  const Tensor x = x_TD.to(at::kDouble);
  Tensor logits = at::linear(x, layer.router_ED.to(at::kDouble));
  if (layer.router_bias_E.defined()) {
    logits = logits + layer.router_bias_E.to(at::kDouble);
  }
  const Tensor p = at::softmax(logits, -1);
  const int64_t k =
      std::min<int64_t>(lm.top_k, static_cast<int64_t>(experts.size()));
  const auto [values, ids] = at::topk(p, k);
  std::vector<Tensor> rows;
  for (int64_t t = 0; t < x.size(0); ++t) {
    Tensor y = at::zeros({x.size(1)}, at::kDouble);
    const Tensor total = lm.renormalise ? values[t].sum() : at::ones({});
    for (int64_t j = 0; j < k; ++j) {
      const auto& expert = experts[ids[t][j].item<int64_t>()];
      const Ffn& ffn = expert.has_value() ? *expert : layer.ffn;
      const Tensor a = at::silu(at::mv(ffn.gate_FD.to(at::kDouble), x[t])) *
                       at::mv(ffn.up_FD.to(at::kDouble), x[t]);
      y = y + at::mv(ffn.down_DF.to(at::kDouble), a) * values[t][j] / total;
    }
    rows.push_back(y);
  }
  return at::stack(rows);
}

TEST_F(ModelTest, RaggedLayersAndAllGradientsEqualTheDefinition) {
  // Widths from 8 to 384, an alias, an expert for one token only, one for
  // none; with and without renormalised weights, top 1 to all.
  for (const bool renormalise : {true, false}) {
    for (const int64_t k : {1, 2, 3, 6}) {
      Expert one_token = MakeExpert({8, 8, 8, 8}, 20);
      Expert nobody = MakeExpert({64, 64, 64, 64}, 21);
      nobody.router_bias[1] = at::full({}, -1e4);
      at::manual_seed(17);
      const Tensor x_TD = at::randn({23, 128});
      one_token.router_D[1] = x_TD[7] * 50 / x_TD[7].norm().square() * 1.0;
      one_token.router_bias[1] = at::full({}, -40.0);
      CausalLm lm =
          With({MakeExpert({8, 16, 8, 8}, 22), MakeExpert({0, 0, 0, 0}, 23),
                one_token, nobody, MakeExpert({384, 384, 384, 384}, 24)});
      lm.top_k = k;
      lm.renormalise = renormalise;
      DecoderLayer& layer = lm.layers[1];
      std::vector<Tensor> leaves;
      std::vector<Tensor> wide_leaves;
      std::vector<std::optional<Ffn>> wide_experts;
      for (auto& expert : layer.experts) {
        wide_experts.emplace_back();
        if (!expert.has_value()) {
          continue;
        }
        wide_experts.back() = *expert;
        for (auto part : {&Ffn::gate_FD, &Ffn::up_FD, &Ffn::down_DF}) {
          Tensor& narrow = (*expert).*part;
          Tensor& wide = (*wide_experts.back()).*part;
          narrow = narrow.clone().set_requires_grad(true);
          wide = narrow.detach().to(at::kDouble).set_requires_grad(true);
          leaves.push_back(narrow);
          wide_leaves.push_back(wide);
        }
      }
      const Tensor x = x_TD.clone().set_requires_grad(true);
      const Tensor wide_x =
          x_TD.to(at::kDouble).clone().set_requires_grad(true);
      const Tensor g = at::randn({23, 128});
      const Tensor wanted = SlowMoe(lm, 1, wide_x, wide_experts);
      const Tensor got = RunFeedforward(lm, 1, x, nullptr);
      EXPECT_LT(MaxDifference(got, wanted), 1e-4) << "k " << k;
      {
        at::NoGradGuard no_gradients;
        EXPECT_LT(MaxDifference(RunFeedforward(lm, 1, x_TD, nullptr), wanted),
                  1e-4);
      }
      (got * g).sum().backward();
      (wanted * g.to(at::kDouble)).sum().backward();
      leaves.push_back(x);
      wide_leaves.push_back(wide_x);
      for (size_t i = 0; i < leaves.size(); ++i) {
        const Tensor& reference = wide_leaves[i].grad();
        if (!leaves[i].grad().defined()) {  // nobody chose it
          EXPECT_TRUE(!reference.defined() ||
                      reference.norm().item<double>() == 0);
          continue;
        }
        ASSERT_TRUE(reference.defined());
        const double error = (leaves[i].grad().to(at::kDouble) - reference)
                                 .norm()
                                 .item<double>();
        EXPECT_LE(error, 1e-4 * reference.norm().item<double>() + 1e-9)
            << "tensor " << i << " k " << k;
      }
    }
  }
}

TEST_F(ModelTest, RaggedExpertsEqualTheirZeroPaddedForm) {
  // Slots of an expert that stands for the anchor hold a copy of its FFN.
  CausalLm ragged =
      With({MakeExpert({8, 384, 0, 128}, 31), MakeExpert({0, 0, 0, 256}, 32),
            MakeExpert({48, 8, 8, 384}, 33)});
  CausalLm padded = ragged;
  for (DecoderLayer& layer : padded.layers) {
    const int64_t width = layer.ffn.width();
    for (auto& expert : layer.experts) {
      if (!expert.has_value()) {
        expert = layer.ffn;
        continue;
      }
      const int64_t missing = width - expert->width();
      const auto below = [&](const Tensor& w) {
        return at::cat({w, at::zeros({missing, w.size(1)})});
      };
      expert->gate_FD = below(expert->gate_FD);
      expert->up_FD = below(expert->up_FD);
      expert->down_DF = at::cat(
          {expert->down_DF, at::zeros({expert->down_DF.size(0), missing})}, 1);
    }
  }
  for (const int64_t k : {1, 2, 3, 4}) {
    ragged.top_k = padded.top_k = k;
    EXPECT_LT(MaxDifference(LogitsOf(ragged, ids_), LogitsOf(padded, ids_)),
              1e-5)
        << "k " << k;
  }
}

TEST_F(ModelTest, RoutingHookSeesProbabilitiesAndAscendingChoices) {
  const CausalLm lm =
      With({MakeExpert({8, 8, 8, 8}, 7), MakeExpert({8, 8, 8, 8}, 8)});
  int layers = 0;
  Hooks hooks;
  hooks.routing = [&](int64_t, const Tensor& p, const Tensor& ids,
                      const Tensor& weights) {
    ++layers;
    EXPECT_EQ(p.size(1), 3);
    EXPECT_TRUE(at::allclose(p.sum(1), at::ones({p.size(0)})));
    EXPECT_TRUE(at::allclose(weights.sum(1), at::ones({p.size(0)})));
    EXPECT_TRUE((ids.select(1, 0) < ids.select(1, 1)).all().item<bool>());
  };
  at::NoGradGuard no_gradients;
  const Tensor hooked = Logits(lm, HiddenStates(lm, ids_, {.hooks = &hooks}));
  EXPECT_EQ(layers, 4);
  EXPECT_TRUE(at::equal(hooked, LogitsOf(lm, ids_)));
}

TEST_F(ModelTest, ExpertFilesRoundTripAndAreChecked) {
  auto directory = TemporaryDirectory::Create("tributary-expert-");
  ASSERT_TRUE(directory.ok());
  const Expert expert = MakeExpert({0, 128, 384, 256}, 9);
  NamedTensors tensors;
  for (int64_t l = 0; l < 4; ++l) {
    const auto& ffn = expert.layers[static_cast<size_t>(l)];
    if (ffn.has_value()) {
      using model_format::MlpPart;
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kGate),
                           ffn->gate_FD.to(at::kBFloat16));
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kUp),
                           ffn->up_FD.to(at::kBFloat16));
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kDown),
                           ffn->down_DF.to(at::kBFloat16));
    }
    tensors.emplace_back(model_format::RouterWeight(l),
                         expert.router_D[static_cast<size_t>(l)]);
    tensors.emplace_back(model_format::RouterBias(l),
                         expert.router_bias[static_cast<size_t>(l)]);
  }
  const auto path = directory->path() / "expert.safetensors";
  ASSERT_TRUE(WriteTensors(path, tensors).ok());
  const auto read = LoadExpert(anchor_.config, path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->name, "expert");
  EXPECT_EQ(read->widths(), expert.widths());
  EXPECT_TRUE(
      at::equal(LogitsOf(With({*read}), ids_), LogitsOf(With({expert}), ids_)));

  auto wrong = tensors;
  wrong.emplace_back("layers.0.secret", at::zeros({4}));
  ASSERT_TRUE(WriteTensors(path, wrong).ok());
  EXPECT_THAT(LoadExpert(anchor_.config, path).status().ToString(),
              HasSubstr("holds 18 tensors, 17 of them belong"));
  wrong = tensors;
  wrong[2].second = at::zeros({64, 128});
  ASSERT_TRUE(WriteTensors(path, wrong).ok());
  EXPECT_FALSE(LoadExpert(anchor_.config, path).ok());
}

TEST_F(ModelTest, FinishedMixturesTakeNoExperts) {
  CausalLm lm = anchor_;
  lm.layers[0].ffn = {};
  EXPECT_EQ(AttachExpert(lm, MakeExpert({8, 8, 8, 8}, 1)).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ModelTest, FrozenDigestIgnoresExpertsAndSeesOneBit) {
  const std::string digest = *DigestFrozen(anchor_);
  EXPECT_EQ(digest.size(), 64u);
  EXPECT_EQ(*DigestFrozen(With({MakeExpert({8, 8, 8, 8}, 1)})), digest);
  CausalLm lm = anchor_;
  lm.layers[3].ffn.down_DF = lm.layers[3].ffn.down_DF.clone();
  lm.layers[3].ffn.down_DF[0][0] += 1e-6;
  EXPECT_NE(*DigestFrozen(lm), digest);
}

TEST_F(ModelTest, DevicesAreNamedOrRefused) {
  EXPECT_TRUE(PrepareRuntime({.threads = 2})->is_cpu());
  EXPECT_EQ(PrepareRuntime({.device = "tpu"}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PrepareRuntime({.device = "cuda:"}).status().code(),
            absl::StatusCode::kInvalidArgument);
  // Where there is a GPU, there are not this many.
  const Status many = PrepareRuntime({.device = "cuda:99"}).status();
  EXPECT_EQ(many.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(many.message()), HasSubstr("device cuda:99"));
  if (!at::hasCUDA()) {
    EXPECT_THAT(PrepareRuntime({.device = "cuda"}).status().ToString(),
                HasSubstr("use cpu, or install a CUDA build of torch"));
  }
}

}  // namespace
}  // namespace tributary::model
