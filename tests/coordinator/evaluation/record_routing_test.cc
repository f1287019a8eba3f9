#include "coordinator/evaluation/record_routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <nlohmann/json.hpp>

#include "common/evaluation/log_loss.h"
#include "coordinator/evaluation/analyse.h"
#include "tests/common/model/test_models.h"
#include "tests/coordinator/test_release.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class RecordRoutingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = TemporaryDirectory::Create("tributary-record-");
    ASSERT_TRUE(created.ok());
    directory_.emplace(*std::move(created));
    release_ = directory_->path() / "release";
    const auto config = *model_format::LoadModelConfig(model::TinyAnchor());
    ASSERT_TRUE(
        WriteRelease(
            model::TinyAnchor(),
            {model::RandomExpert(config, {0, 128, 384, 0}, "first", 1),
             model::RandomExpert(config, {0, 128, 0, 256}, "second", 2)},
            /*renormalise=*/true, release_)
            .ok());
  }

  std::optional<TemporaryDirectory> directory_;
  fs::path release_;
};

TEST_F(RecordRoutingTest, HoldsWhatTheModelChose) {
  const auto lm = model::LoadModel(release_);
  ASSERT_TRUE(lm.ok()) << lm.status();
  const std::vector<DomainWindows> domains = {
      {"a", {{5, 6, 7, 8, 9}, {10, 11, 12}}}, {"b", {{20, 21, 22, 23}}}};
  const auto record = RecordRouting(*lm, domains);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_THAT(record->experts, ElementsAre("public", "first", "second"));
  EXPECT_THAT(record->layers, ElementsAre(1, 2, 3));
  EXPECT_EQ(record->tokens(), 12);
  EXPECT_THAT(record->next,
              ElementsAre(6, 7, 8, 9, -1, 11, 12, -1, 21, 22, 23, -1));
  EXPECT_THAT(record->domain, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1));
  EXPECT_THAT(record->loss_tokens, ElementsAre(6, 3));
  // The same by hand: two of three experts by probability, likeliest first.
  at::NoGradGuard no_gradients;
  model::Hooks hooks;
  std::vector<at::Tensor> inputs(4);
  hooks.moe_input = [&](int64_t layer, const at::Tensor& x) {
    inputs[static_cast<size_t>(layer)] = x.clone();
  };
  const at::Tensor ids = at::tensor({20, 21, 22, 23}, at::kLong).view({1, 4});
  const at::Tensor logits =
      model::Logits(*lm, model::HiddenStates(*lm, ids, {.hooks = &hooks}));
  for (size_t l = 0; l < 3; ++l) {
    const at::Tensor wanted =
        std::get<1>(at::linear(inputs[l + 1], lm->layers[l + 1].router_ED)
                        .topk(2, 1, /*largest=*/true, /*sorted=*/true))
            .flatten()
            .to(at::kInt);
    const std::vector<int32_t> got(record->chosen[l].end() - 8,
                                   record->chosen[l].end());
    EXPECT_EQ(got, std::vector<int32_t>(wanted.data_ptr<int32_t>(),
                                        wanted.data_ptr<int32_t>() + 8));
    double sum = 0;
    double weights = 0;
    for (size_t e = 0; e < 3; ++e) {
      sum += record->probability[l][3 + e];
      weights += record->weight[l][3 + e];
    }
    EXPECT_NEAR(sum, 4, 1e-5);
    EXPECT_NEAR(weights, 4, 1e-5);
  }
  EXPECT_EQ(record->predicted.back(), logits[0][3].argmax().item<int64_t>());
  const auto loss = evaluation::EvaluateWindows(*lm, ids);
  EXPECT_NEAR(record->loss[1] / 3, loss->mean, 1e-5);
}

TEST_F(RecordRoutingTest, RefusesDenseModelsAndForeignIds) {
  const auto anchor = model::LoadModel(model::TinyAnchor());
  ASSERT_TRUE(anchor.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      RecordRouting(*anchor, {{"a", {{1, 2}}}}).status()));
  const auto lm = model::LoadModel(release_);
  EXPECT_TRUE(absl::IsInvalidArgument(
      RecordRouting(*lm, {{"a", {{1, 2048}}}}).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(RecordRouting(*lm, {{"a", {{1}}}}).status()));
}

TEST_F(RecordRoutingTest, ImportanceIsThatOfTheAnchorsChannels) {
  const auto anchor = model::LoadModel(model::TinyAnchor());
  ASSERT_TRUE(anchor.ok());
  const auto lm = model::LoadModel(release_);
  ASSERT_TRUE(lm.ok()) << lm.status();
  const auto record = RecordRouting(
      *lm, {{"a", {{1, 2, 3}, {7, 8, 9}, {4, 5}}}, {"b", {{6, 7}}}});
  ASSERT_TRUE(record.ok()) << record.status();
  const auto& scores = record->importance;
  ASSERT_EQ(scores.size(), 2u);
  ASSERT_EQ(scores[0].size(), 4u);
  at::NoGradGuard no_gradients;
  // Below, in and above the first layer that routes.
  for (const int64_t wanted : {0, 1, 2}) {
    at::Tensor sum = at::zeros({384}, at::kDouble);
    model::Hooks hooks;
    hooks.down_input = [&](int64_t layer, int64_t, const at::Tensor& a) {
      if (layer == wanted) {
        sum += a.abs().to(at::kDouble).mean(0).square();
      }
    };
    for (const at::Tensor& ids :
         {at::tensor({1, 2, 3}, at::kLong), at::tensor({7, 8, 9}, at::kLong),
          at::tensor({4, 5}, at::kLong)}) {
      model::HiddenStates(*anchor, ids.unsqueeze(0), {.hooks = &hooks});
    }
    const auto& layer = scores[0][static_cast<size_t>(wanted)];
    ASSERT_EQ(layer.size(), 384u);
    for (const int64_t i : {0, 100, 383}) {
      const double score = std::sqrt(sum[i].item<double>());
      EXPECT_NEAR(layer[static_cast<size_t>(i)], score, 1e-5 * score);
    }
  }
}

TEST_F(RecordRoutingTest, AnalysisOfAReleaseHasEverything) {
  const fs::path text = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures/text";
  const auto analysis =
      AnalyseRouting({.model = {.directory = release_},
                      .domains = {{"first", {text / "domain_a.jsonl"}},
                                  {"second", {text / "domain_b.jsonl"}}},
                      .reference = model::Source{.directory = release_},
                      .window_tokens = 64,
                      .max_windows = 6,
                      .nodes = {.groups = 3, .limit = 2}});
  ASSERT_TRUE(analysis.ok()) << analysis.status();
  std::vector<std::string> keys;
  for (const auto& [key, value] : analysis->items()) {
    keys.push_back(key);
  }
  EXPECT_THAT(keys, UnorderedElementsAre(
                        "tokens", "top_k", "layers", "experts", "domains",
                        "utilisation", "domain_specialisation",
                        "mean_probability", "mean_weight", "co_activation",
                        "vocabulary", "saturation", "importance", "nodes"));
  const Json& nodes = (*analysis)["nodes"];
  for (size_t l = 0; l < 3; ++l) {
    // Of three experts on three nodes a token chooses two.
    EXPECT_EQ(nodes["groups_free"][l], 2.0);
    EXPECT_EQ(nodes["choices_kept"][l], 1.0);
  }
  EXPECT_EQ((*analysis)["saturation"]["share"], Json({1.0, 1.0, 1.0}));
  EXPECT_EQ((*analysis)["importance"]["overlap"][0][0][0], 1.0);
  EXPECT_EQ((*analysis)["domains"].size(), 2u);
  EXPECT_GT((*analysis)["vocabulary"]["input"]["ids"], 0);
}

}  // namespace
}  // namespace tributary::coordinator
