// Exports of releases with experts of unequal width, read by transformers.

#include <gmock/gmock.h>

#include "tests/coordinator/export/export_fixture.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using model::Expert;
using ::testing::HasSubstr;

using ExportTest = ExportFixture;

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
  const auto config =
      model_format::LoadModelConfig(models / "olmo2_gqa_untied_0");
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_TRUE(WriteRelease(models / "olmo2_gqa_untied_0",
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
