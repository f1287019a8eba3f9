#include "coordinator/release/router_modes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "common/base/files.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/writer.h"

namespace tributary::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kExperts = 3;
constexpr int64_t kLayers = 2;
constexpr int64_t kHidden = 4;

class RouterModesTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_.emplace(*TemporaryDirectory::Create("router-modes"));
    material_ = {.anchor = "/anchor",
                 .contributions = {"a", "b"},
                 .experts = {"/in/a", "/in/b"},
                 .statistics = {"/in/sa", "/in/sb"},
                 .num_layers = kLayers,
                 .hidden_size = kHidden,
                 .top_k = 2,
                 .output = "/out"};
  }

  // A router file with this value everywhere.
  std::filesystem::path Router(int64_t experts, int64_t layers, float value) {
    std::vector<safetensors::TensorView> tensors;
    const std::vector<float> data(experts * kHidden, value);
    const auto bytes = std::as_bytes(std::span(data));
    for (int64_t l = 0; l < layers; ++l) {
      tensors.push_back({{model_format::RouterWeight(l),
                          safetensors::DType::kF32,
                          {experts, kHidden}},
                         bytes});
      tensors.push_back(
          {{model_format::RouterBias(l), safetensors::DType::kF32, {experts}},
           bytes.first(experts * sizeof(float))});
    }
    const auto path = directory_->path() / "router.safetensors";
    EXPECT_TRUE(safetensors::WriteFile(path, tensors).ok());
    return path;
  }

  Status Check(const std::filesystem::path& path) {
    return CheckRouterFile(path, kExperts, kLayers, kHidden);
  }

  std::optional<TemporaryDirectory> directory_;
  RouterMaterial material_;
};

TEST_F(RouterModesTest, KnowsItsModes) {
  for (const char* mode : {"discriminant", "trained", "ridge", "tuned"}) {
    EXPECT_TRUE(IsRouterMode(mode));
  }
  EXPECT_FALSE(IsRouterMode(""));
  EXPECT_FALSE(IsRouterMode("Ridge"));
  EXPECT_THAT(RouterModeCaution(kRidgeMode), testing::Not(testing::IsEmpty()));
  EXPECT_THAT(RouterModeCaution(kTrainedMode),
              testing::Not(testing::IsEmpty()));
  EXPECT_EQ(RouterModeCaution(kDiscriminantMode), "");
  EXPECT_EQ(RouterModeCaution(kTunedMode), "");
  EXPECT_FALSE(MakesRouter("discriminant"));
  EXPECT_FALSE(MakesRouter("trained"));
  EXPECT_TRUE(RouterSettingsOf("trained", {}).empty());
}

TEST_F(RouterModesTest, ARidgeJobReadsStatisticsAndNoExpert) {
  const job::Job job =
      RouterJob("ridge", material_, {.ridge_lambda = 0.5}, "id");
  EXPECT_THAT(job.read_paths(), ElementsAre("/anchor", "/in/sa", "/in/sb"));
  const job::SolveRidge& task = job.tasks(0).solve_ridge();
  EXPECT_EQ(task.contributions(1).contribution(), "b");
  EXPECT_EQ(task.contributions(1).path(), "/in/sb");
  EXPECT_EQ(task.lambda(), 0.5);
  EXPECT_EQ(RouterSettingsOf("ridge", {.ridge_lambda = 0.5}).at("lambda"), 0.5);
}

TEST_F(RouterModesTest, ATuningJobReadsExpertsAndNoStatistics) {
  const job::Job job = RouterJob("tuned", material_, {.tuned_seed = 7}, "id");
  EXPECT_THAT(job.read_paths(), ElementsAre("/anchor", "/in/a", "/in/b"));
  EXPECT_EQ(job.seed(), 7u);
  EXPECT_EQ(job.tasks(0).tune_router().model().expert_paths(1), "/in/b");
  EXPECT_EQ(RouterSettingsOf("tuned", {.tuned_seed = 7}).at("seed"), 7);
}

TEST_F(RouterModesTest, ARouterThatDoesNotFitIsRefused) {
  EXPECT_TRUE(Check(Router(kExperts, kLayers, 0.5F)).ok());
  EXPECT_THAT(Check(Router(kExperts - 1, kLayers, 0.5F)).message(),
              HasSubstr("of 3 experts"));
  EXPECT_THAT(Check(Router(kExperts, kLayers - 1, 0.5F)).message(),
              HasSubstr("2 tensors, wanted 4"));
  EXPECT_THAT(Check(Router(kExperts, kLayers, NAN)).message(),
              HasSubstr("not finite"));
  EXPECT_FALSE(Check(directory_->path() / "none").ok());
}

}  // namespace
}  // namespace tributary::coordinator
