#include "contributor/pruning/prune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "common/base/files.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/writer.h"
#include "contributor/pruning/channels.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using model_format::MlpPart;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kAnchor =
    fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures/tiny_anchor";
constexpr int64_t kHidden = 128;
constexpr int64_t kFfn = 384;

class PruneTest : public ::testing::Test {
 protected:
  PruneTest() {
    std::mt19937 random(7);
    std::vector<safetensors::TensorView> views;
    for (int l = 0; l < 4; ++l) {
      scores_.emplace_back(kFfn);
      std::iota(scores_[l].begin(), scores_[l].end(), 1.0f);
      std::shuffle(scores_[l].begin(), scores_[l].end(), random);
    }
    for (int l = 0; l < 4; ++l) {
      views.push_back(
          {{model_format::Importance(l), safetensors::DType::kF32, {kFfn}},
           std::as_bytes(std::span(scores_[l]))});
    }
    EXPECT_TRUE(safetensors::WriteFile(importance_, views).ok());
    directory_ = *model_format::HfDirectory::Open(kAnchor);
  }

  PruneOptions Options(WidthRequest request) const {
    return {.model_directory = kAnchor,
            .importance_path = importance_,
            .first_layer = 2,
            .request = std::move(request)};
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("prune");
  fs::path importance_ = folder_.path() / "importance.safetensors";
  std::vector<std::vector<float>> scores_;
  std::unique_ptr<model_format::HfDirectory> directory_;
};

TEST_F(PruneTest, KeepsTheMostImportantChannelsOfTheAnchor) {
  const auto pruned = Prune(Options({.widths = {0, 0, 128, 256}}));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_THAT(pruned->widths(), ElementsAre(0, 0, 128, 256));
  EXPECT_EQ(pruned->parameters, 3 * kHidden * (128 + 256));
  for (const int l : {2, 3}) {
    const auto full = ReadAnchorLayer(*directory_, l);
    const LayerWeights& layer = pruned->layers[l];
    float last = kFfn + 1;
    for (int64_t i = 0; i < layer.width; ++i) {
      const int32_t channel = pruned->kept[l][i];
      EXPECT_EQ(scores_[l][channel], kFfn - i);
      EXPECT_LT(scores_[l][channel], last);
      last = scores_[l][channel];
      for (int64_t d = 0; d < kHidden; ++d) {
        ASSERT_EQ(layer.gate_FD[i * kHidden + d],
                  full->gate_FD[channel * kHidden + d]);
        ASSERT_EQ(layer.up_FD[i * kHidden + d],
                  full->up_FD[channel * kHidden + d]);
        ASSERT_EQ(layer.down_DF[d * layer.width + i],
                  full->down_DF[d * kFfn + channel]);
      }
    }
  }
}

TEST_F(PruneTest, NarrowerExpertsArePrefixes) {
  const auto path = folder_.path() / "wide.safetensors";
  const auto wide = PruneToFile(Options({.widths = {384}}), path,
                                folder_.path() / "plan.safetensors");
  ASSERT_TRUE(wide.ok()) << wide.status();
  PruneOptions options = Options({.fraction = 0.4});
  options.expert_path = path;
  const auto narrow = Prune(options);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  const auto direct = Prune(Options({.widths = {128}}));
  for (const int l : {2, 3}) {
    EXPECT_EQ(narrow->layers[l].gate_FD, direct->layers[l].gate_FD);
    EXPECT_EQ(narrow->layers[l].up_FD, direct->layers[l].up_FD);
    EXPECT_EQ(narrow->layers[l].down_DF, direct->layers[l].down_DF);
  }
  options.request = {.parameter_budget = 3 * 128 * kHidden * 4};
  EXPECT_THAT(Prune(options)->widths(), ElementsAre(0, 0, 256, 256));
}

TEST_F(PruneTest, PlanHoldsTheKeptChannels) {
  const auto plan_path = folder_.path() / "plan.safetensors";
  const auto pruned =
      PruneToFile(Options({.widths = {128}}),
                  folder_.path() / "pruned.safetensors", plan_path);
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  const auto plan = safetensors::File::Open(plan_path);
  ASSERT_TRUE(plan.ok());
  const auto* kept = (*plan)->Find("layers.3.kept");
  ASSERT_NE(kept, nullptr);
  EXPECT_TRUE(std::ranges::equal((*plan)->Bytes(*kept),
                                 std::as_bytes(std::span(pruned->kept[3]))));
  const auto expert = ExpertFile::Open(directory_->config(),
                                       folder_.path() / "pruned.safetensors");
  ASSERT_TRUE(expert.ok()) << expert.status();
  EXPECT_FALSE(expert->has_rows());
  EXPECT_THAT(expert->layout().widths, ElementsAre(0, 0, 128, 128));
}

TEST_F(PruneTest, NeedsScoresToNarrowTheAnchor) {
  PruneOptions options = Options({.widths = {128}});
  options.importance_path.clear();
  EXPECT_THAT(Prune(options).status().message(), HasSubstr("calibrate first"));
  options.request = {.widths = {kFfn}};
  const auto whole = Prune(options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->layers[3].down_DF, ReadAnchorLayer(*directory_, 3)->down_DF);
}

TEST_F(PruneTest, RefusesUnsuitableFiles) {
  const auto write = [&](const std::vector<float>& scores) {
    EXPECT_TRUE(safetensors::WriteFile(
                    importance_, {{{model_format::Importance(2),
                                    safetensors::DType::kF32,
                                    {static_cast<int64_t>(scores.size())}},
                                   std::as_bytes(std::span(scores))}})
                    .ok());
  };
  write(std::vector<float>(100, 1.0f));
  EXPECT_THAT(Prune(Options({.widths = {128}})).status().message(),
              HasSubstr("got 100 scores"));
  write(std::vector<float>(kFfn, -1.0f));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Prune(Options({.widths = {128}})).status()));
  write(std::vector<float>(kFfn, 1.0f));
  EXPECT_THAT(Prune(Options({.widths = {128}})).status().message(),
              HasSubstr("layers.3.importance"));
  PruneOptions options = Options({.widths = {128}});
  options.expert_path = importance_;
  EXPECT_THAT(Prune(options).status().message(),
              HasSubstr("none that an expert has"));
}

TEST_F(PruneTest, RanksAnExpertByItsOwnScores) {
  const auto path = folder_.path() / "wide.safetensors";
  ASSERT_TRUE(PruneToFile(Options({.widths = {384}}), path,
                          folder_.path() / "plan.safetensors")
                  .ok());
  const auto expert = ExpertFile::Open(directory_->config(), path);
  ASSERT_TRUE(expert.ok());
  ImportanceSums sums{.formulas = {Formula::kTaylor}, .layers = {}};
  for (const int l : {2, 3}) {
    const LayerWeights full = *expert->ReadLayer(l);
    ExactSum sum(kFfn);
    std::vector<double> scores(kFfn);
    std::iota(scores.begin(), scores.end(), 0.0);
    ASSERT_TRUE(sum.Add(scores).ok());
    sums.layers[l] = {.channels_digest = DigestChannels(
                          full.gate_FD, full.up_FD, full.down_DF),
                      .down_norms = std::vector<double>(kFfn, 1.0),
                      .sums = {sum}};
  }
  PruneOptions options = Options({.widths = {128}});
  options.importance_path = folder_.path() / "own.safetensors";
  ASSERT_TRUE(WriteImportance(options.importance_path, sums).ok());
  options.expert_path = path;
  options.ranking = Ranking::kImportance;
  const auto pruned = Prune(options);
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  for (int i = 0; i < 128; ++i) {
    EXPECT_EQ(pruned->kept[3][i], kFfn - 1 - i);
  }
  // The same scores are not those of the anchor.
  options.expert_path.clear();
  EXPECT_THAT(Prune(options).status().message(),
              HasSubstr("scores other channels than those of layer 2"));
  options.importance_path.clear();
  EXPECT_THAT(Prune(options).status().message(), HasSubstr("got no scores"));
}

TEST_F(PruneTest, RandomChannelsAreAFunctionOfTheSeed) {
  PruneOptions options = Options({.widths = {256}});
  options.ranking = Ranking::kRandom;
  options.seed = 4;
  const auto first = Prune(options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Prune(options)->kept, first->kept);
  EXPECT_NE(first->kept[2], first->kept[3]);
  std::vector<int32_t> sorted = first->kept[2];
  std::ranges::sort(sorted);
  EXPECT_EQ(std::ranges::adjacent_find(sorted), sorted.end());
  EXPECT_LT(sorted.back(), kFfn);
  options.seed = 5;
  EXPECT_NE(Prune(options)->kept, first->kept);
}

}  // namespace
}  // namespace tributary::contributor
