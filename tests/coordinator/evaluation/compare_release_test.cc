// A release beside other models of its experts, on the small anchor.

#include "coordinator/evaluation/compare_release.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <nlohmann/json.hpp>

#include "common/evaluation/log_loss.h"
#include "coordinator/evaluation/merged_models.h"
#include "coordinator/validation/anchor_statistics.h"
#include "tests/common/model/test_models.h"
#include "tests/coordinator/test_release.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

fs::path Text(const std::string& name) {
  return fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures/text" / name;
}

class CompareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto config = *model_format::LoadModelConfig(model::TinyAnchor());
    ASSERT_TRUE(
        WriteRelease(
            model::TinyAnchor(),
            {model::RandomExpert(config, {0, 128, 384, 0}, "first", 1),
             model::RandomExpert(config, {0, 128, 0, 256}, "second", 2)},
            /*renormalise=*/true, release())
            .ok());
  }

  fs::path release() const { return folder_.path() / "release"; }

  CompareOptions Options() const {
    CompareOptions options;
    options.release_directory = release();
    options.texts = {{"a", {Text("domain_a_heldout.jsonl")}, "first"},
                     {"b", {Text("domain_b_heldout.jsonl")}, ""}};
    options.window_tokens = 48;
    options.max_windows = 2;
    options.scratch_directory = folder_.path();
    return options;
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("compare");
};

std::map<std::string, Json> ById(const Json& comparison) {
  std::map<std::string, Json> models;
  for (const Json& model : comparison["models"]) {
    models[model["id"].get<std::string>()] = model;
  }
  return models;
}

TEST_F(CompareTest, MeasuresEveryModelOnTheSameWindows) {
  ASSERT_TRUE(MakeDirectories(folder_.path() / "public").ok());
  const auto made = MakeAnchorStatistics(
      {.model_directory = model::TinyAnchor(),
       .classes = {{"prose", {Text("public_prose.jsonl")}},
                   {"heldout", {Text("public_heldout.jsonl")}},
                   {"python", {Text("background_python.jsonl")}}},
       .window_tokens = 48,
       .windows_per_class = 3,
       .heldout_windows = 2,
       .sample_stride = 4,
       .first_layer = 1,
       .output_directory = folder_.path() / "public"});
  ASSERT_TRUE(made.ok()) << made.status();
  CompareOptions options = Options();
  options.public_tokens_path = made->tokens_path;
  options.router_epochs = 1;
  options.upcycling_steps = 3;
  const auto comparison = CompareRelease(options);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  std::vector<std::string> ids;
  for (const Json& model : (*comparison)["models"]) {
    ids.push_back(model["id"].get<std::string>());
    ASSERT_EQ(model["losses"].size(), 3u);
    for (const Json& loss : model["losses"]) {
      EXPECT_GT(loss["log_loss"].get<double>(), 0);
    }
  }
  EXPECT_THAT(ids, ElementsAre("anchor", "own:first", "own:second", "release",
                               "average", "average-zero", "ensemble",
                               "fresh-router", "upcycled"));
  EXPECT_EQ((*comparison)["texts"][2]["name"], "public");
  auto models = ById(*comparison);
  // The anchor's and the release's are those of the evaluation.
  const auto lm = model::LoadModel(release());
  ASSERT_TRUE(lm.ok());
  const auto tokens = *safetensors::File::Open(made->tokens_path);
  const at::Tensor heldout = *model::ReadTokenIds(*tokens, "heldout", 2048);
  EXPECT_NEAR(models["release"]["losses"][2]["log_loss"].get<double>(),
              evaluation::EvaluateWindows(*lm, heldout)->mean, 1e-5);
  const auto anchor = model::LoadModel(release() / "anchor");
  EXPECT_NEAR(models["anchor"]["losses"][2]["log_loss"].get<double>(),
              evaluation::EvaluateWindows(*anchor, heldout)->mean, 1e-5);
  // An owner's own model keeps all of its own gain; texts of nobody have none.
  const Json own = models["own:first"]["losses"][0];
  if (own["change"].get<double>() < 0) {
    EXPECT_DOUBLE_EQ(own["gain_kept"].get<double>(), 1.0);
  } else {
    EXPECT_TRUE(own["gain_kept"].is_null());
  }
  EXPECT_TRUE(own["change"].is_number());
  EXPECT_TRUE(models["release"]["losses"][1]["gain_kept"].is_null());
  // An ensemble of three costs three passes, and is no worse than the worst of
  // its parts by more than their number can cost.
  EXPECT_EQ(models["ensemble"]["facts"]["models"], 3);
  EXPECT_GT(models["ensemble"]["parameters"]["active"].get<int64_t>(),
            2 * models["anchor"]["parameters"]["active"].get<int64_t>());
  EXPECT_EQ(models["upcycled"]["facts"]["steps"], 3);
  // 3 windows of prose, and for each expert at most 3 that look like it.
  EXPECT_LE(models["fresh-router"]["facts"]["steps"].get<int>(), 9);
  // Nothing is left behind.
  EXPECT_FALSE(fs::exists(folder_.path() / "fresh.safetensors"));
  // The same again, of what needs no training.
  options.router_epochs = 0;
  options.upcycling_steps = 0;
  const auto again = CompareRelease(options);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ((*again)["models"].size(), 7u);
  for (size_t m = 0; m < 7; ++m) {
    EXPECT_EQ((*again)["models"][m], (*comparison)["models"][m]);
  }
}

TEST_F(CompareTest, RefusesTextsThatMeanNothing) {
  const auto message = [](const CompareOptions& options) {
    const auto result = CompareRelease(options);
    EXPECT_FALSE(result.ok());
    return result.status().ToString();
  };
  CompareOptions options = Options();
  options.texts[1].contribution = "third";
  EXPECT_THAT(message(options), HasSubstr("no contribution third"));
  options = Options();
  options.texts[1].name = "a";
  EXPECT_THAT(message(options), HasSubstr("every name once"));
  const fs::path empty = folder_.path() / "empty.jsonl";
  ASSERT_TRUE(WriteFileAtomic(empty, "").ok());
  options = Options();
  options.texts[0].paths = {empty};
  EXPECT_FALSE(CompareRelease(options).ok());
  ASSERT_TRUE(
      WriteRelease(model::TinyAnchor(), {}, true, folder_.path() / "bare")
          .ok());
  options = Options();
  options.release_directory = folder_.path() / "bare";
  EXPECT_TRUE(absl::IsFailedPrecondition(CompareRelease(options).status()));
}

TEST_F(CompareTest, AveragesAreThoseOfMatchedChannels) {
  // Two experts that are the anchor's FFN in another order, one of them
  // narrower: with the anchor's channels in the gaps the average is the anchor.
  const auto anchor = *model::LoadModel(model::TinyAnchor());
  model::CausalLm lm = anchor;
  for (const int64_t width : {384, 128}) {
    model::Expert expert = model::RandomExpert(
        anchor.config, {0, width, width, width},
        width == 384 ? "wide" : "narrow", static_cast<int>(width));
    for (size_t l = 1; l < 4; ++l) {
      const at::Tensor kept = at::randperm(384, at::kLong).narrow(0, 0, width);
      const model::Ffn& base = anchor.layers[l].ffn;
      expert.layers[l] = {.gate_FD = base.gate_FD.index_select(0, kept),
                          .up_FD = base.up_FD.index_select(0, kept),
                          .down_DF = base.down_DF.index_select(1, kept)};
    }
    ASSERT_TRUE(model::AttachExpert(lm, std::move(expert)).ok());
  }
  EXPECT_FALSE(HasEqualWidths(lm));
  const model::CausalLm filled = AverageExperts(lm, Gap::kAnchor);
  const model::CausalLm zero = AverageExperts(lm, Gap::kZero);
  for (size_t l = 1; l < 4; ++l) {
    const at::Tensor& base = anchor.layers[l].ffn.down_DF;
    EXPECT_TRUE(
        at::allclose(filled.layers[l].experts[1]->down_DF, base, 1e-5, 1e-6));
    const at::Tensor half =
        (zero.layers[l].experts[1]->down_DF - base * 0.5).abs().sum(0);
    // Channels that both have are whole, the others half.
    EXPECT_EQ((half < 1e-5).sum().item<int64_t>(), 384 - 128);
  }
  const at::Tensor ids = at::arange(40, at::kLong).view({2, 20});
  const auto hidden = [&](const model::CausalLm& model) {
    return model::HiddenStates(model, ids);
  };
  at::NoGradGuard no_gradients;
  EXPECT_TRUE(at::allclose(hidden(filled), hidden(anchor), 1e-4, 1e-4));
  // Copies of the anchor are the anchor until they are trained.
  const model::CausalLm upcycled = Upcycle(lm, 3);
  EXPECT_TRUE(at::allclose(hidden(upcycled), hidden(anchor), 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(hidden(ReduceTo(lm, {})), hidden(anchor)));
}

TEST_F(CompareTest, ReducedToOneExpertIsItsOwnModel) {
  const auto lm = *model::LoadModel(release());
  model::CausalLm own = *model::LoadModel(model::TinyAnchor());
  auto expert = model::LoadExpert(own.config,
                                  release() / "experts" / "second.safetensors");
  ASSERT_TRUE(model::AttachExpert(own, *std::move(expert)).ok());
  const model::CausalLm reduced = ReduceTo(lm, {2});
  EXPECT_THAT(reduced.expert_names, ElementsAre("second"));
  at::NoGradGuard no_gradients;
  const at::Tensor ids = at::arange(40, at::kLong).view({2, 20});
  EXPECT_TRUE(at::equal(model::HiddenStates(reduced, ids),
                        model::HiddenStates(own, ids)));
  const ParameterCount count = CountParameters(reduced);
  EXPECT_EQ(count.active, count.total);  // both of two are chosen
  EXPECT_LT(CountParameters(lm).active, CountParameters(lm).total);
}

}  // namespace
}  // namespace tributary::coordinator
