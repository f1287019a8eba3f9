// Exports of releases with experts of unequal width, read by transformers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/model/load_release.h"
#include "coordinator/export/export_hugging_face.h"
#include "tests/common/model/test_models.h"
#include "tests/coordinator/test_release.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using model::Expert;
using ::testing::HasSubstr;

class ExportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = TemporaryDirectory::Create("tributary-export-");
    ASSERT_TRUE(created.ok());
    directory_.emplace(*std::move(created));
  }

  fs::path Path(const std::string& name) const {
    return directory_->path() / name;
  }

  // Runs a script of python and returns what it prints, a JSON object.
  Json Python(const std::string& arguments) const {
    const fs::path out = Path("out.json");
    const fs::path log = Path("log");
    const std::string command = std::string(TRIBUTARY_PYTHON) + " " +
                                TRIBUTARY_SOURCE_DIR + "/tests/" + arguments +
                                " > " + out.string() + " 2> " + log.string();
    EXPECT_EQ(std::system(command.c_str()), 0) << ReadFile(log).value_or("");
    return ParseJson(ReadFile(out).value_or("")).value_or(Json());
  }

  // Exports a release and compares transformers' logits with our own of the
  // release.
  void ExpectExact(const fs::path& release, const std::string& type) const {
    const fs::path output = Path("exported");
    const auto result =
        ExportHuggingFace({.release_directory = release, .output = output});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_LT(result->max_logit_difference, 1e-3);
    EXPECT_EQ(result->max_fold_difference, 0);
    const auto lm = model::LoadModel(release);
    ASSERT_TRUE(lm.ok()) << lm.status();
    at::manual_seed(3);
    const at::Tensor ids =
        at::randint(lm->config.vocab_size, {3, 50}, at::kLong);
    at::NoGradGuard no_gradients;
    const at::Tensor logits = model::Logits(*lm, model::HiddenStates(*lm, ids));
    const fs::path wanted = Path("wanted.safetensors");
    ASSERT_TRUE(
        model::WriteTensors(wanted, {{"input_ids", ids}, {"logits", logits}})
            .ok());
    const Json report = Python("coordinator/export/check_export.py " +
                               output.string() + " " + wanted.string());
    EXPECT_EQ(report["class"], type);
    EXPECT_EQ(report["problems"].dump(), "[]");
    EXPECT_LT(report["difference"].get<double>(), 1e-3);
  }

  static std::vector<Expert> Experts(
      const model_format::ModelConfig& config,
      const std::vector<std::vector<int64_t>>& widths) {
    std::vector<Expert> experts;
    for (size_t i = 0; i < widths.size(); ++i) {
      experts.push_back(model::RandomExpert(config, widths[i],
                                            "expert-" + std::to_string(i),
                                            static_cast<int>(i) + 40));
    }
    return experts;
  }

  static model_format::ModelConfig TinyConfig() {
    return *model_format::LoadModelConfig(model::TinyAnchor());
  }

  std::optional<TemporaryDirectory> directory_;
};

TEST_F(ExportTest, MixtralOfUnequalWidthsLoadsAndAgrees) {
  // Layer 0: aliases only. Others mix aliases, narrow and full experts.
  ASSERT_TRUE(WriteRelease(model::TinyAnchor(),
                           Experts(TinyConfig(), {{0, 128, 384, 0},
                                                  {0, 0, 128, 256},
                                                  {0, 256, 0, 128}}),
                           /*renormalise=*/true, Path("release"))
                  .ok());
  ExpectExact(Path("release"), "MixtralForCausalLM");
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    EXPECT_TRUE(fs::exists(Path("exported") / name)) << name;
  }
  // Nothing is written over.
  EXPECT_EQ(ExportHuggingFace({.release_directory = Path("release"),
                               .output = Path("exported")})
                .status()
                .code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(ExportTest, ReleaseWithoutExpertsIsTheAnchor) {
  ASSERT_TRUE(
      WriteRelease(model::TinyAnchor(), {}, true, Path("release")).ok());
  ExpectExact(Path("release"), "MixtralForCausalLM");
}

TEST_F(ExportTest, FlexOlmoOverAnOlmo2AnchorLoadsAndAgrees) {
  const fs::path models = Path("models");
  const fs::path log = Path("log");
  const std::string command = std::string(TRIBUTARY_PYTHON) + " " +
                              TRIBUTARY_SOURCE_DIR +
                              "/tests/numerics/make_models.py " +
                              models.string() + " > " + log.string() + " 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0) << ReadFile(log).value_or("");
  const auto config = model_format::LoadModelConfig(models / "olmo2");
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_TRUE(WriteRelease(models / "olmo2",
                           Experts(*config, {{0, 32, 96}, {64, 0, 32}}),
                           /*renormalise=*/false, Path("release"))
                  .ok());
  ExpectExact(Path("release"), "FlexOlmoForCausalLM");
}

TEST_F(ExportTest, BiasesAreFoldedWithPublicStatistics) {
  auto experts = Experts(TinyConfig(), {{0, 128, 384, 128}});
  at::manual_seed(8);
  model::NamedTensors statistics;
  for (int64_t l = 1; l < 4; ++l) {
    experts[0].router_bias[static_cast<size_t>(l)] = at::full({}, -0.5);
  }
  ASSERT_TRUE(
      WriteRelease(model::TinyAnchor(), experts, true, Path("release")).ok());
  // The inputs of the routers on the very tokens that are compared.
  const auto lm = model::LoadModel(Path("release"));
  ASSERT_TRUE(lm.ok()) << lm.status();
  EXPECT_TRUE(lm->layers[1].router_bias_E.defined());
  model::Hooks hooks;
  hooks.moe_input = [&](int64_t layer, const at::Tensor& x) {
    statistics.emplace_back("layers." + std::to_string(layer) + ".prose",
                            x.to(at::kBFloat16));
  };
  at::NoGradGuard no_gradients;
  model::HiddenStates(
      *lm, at::arange(256, at::kLong).mul(7919).remainder(2048).view({2, 128}),
      {.hooks = &hooks});
  const fs::path path = Path("statistics.safetensors");
  ASSERT_TRUE(model::WriteTensors(path, statistics).ok());
  const auto result = ExportHuggingFace({.release_directory = Path("release"),
                                         .output = Path("exported"),
                                         .public_statistics_path = path});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LT(result->max_logit_difference, 1e-3);
  EXPECT_GT(result->max_fold_difference, 0);
  // Without folding the difference would be of another order.
  EXPECT_LT(result->max_fold_difference, 0.5);
  EXPECT_THAT(ExportHuggingFace({.release_directory = Path("release"),
                                 .output = Path("other")})
                  .status()
                  .code(),
              absl::StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(Path("other")));
  EXPECT_FALSE(fs::exists(Path("other.partial")));
}

TEST_F(ExportTest, RefusesWhatMixtralCannotSay) {
  ASSERT_TRUE(WriteRelease(model::TinyAnchor(),
                           Experts(TinyConfig(), {{0, 128, 0, 0}}),
                           /*renormalise=*/false, Path("release"))
                  .ok());
  EXPECT_THAT(ExportHuggingFace({.release_directory = Path("release"),
                                 .output = Path("exported")})
                  .status()
                  .ToString(),
              HasSubstr("renormalise"));
}

}  // namespace
}  // namespace tributary::coordinator
