#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>

#include "common/base/files.h"
#include "common/evaluation/log_loss.h"
#include "common/model/load_release.h"
#include "common/safetensors/writer.h"
#include "coordinator/validation/anchor_statistics.h"
#include "coordinator/validation/evaluate_release.h"
#include "coordinator/validation/validate_expert.h"
#include "tests/common/model/test_models.h"
#include "tests/coordinator/test_release.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using model::Expert;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

fs::path Text(const std::string& name) {
  return fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures/text" / name;
}

// The public statistics are made once for all tests.
class ValidationTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto created = TemporaryDirectory::Create("tributary-validation-");
    ASSERT_TRUE(created.ok());
    directory_ = new TemporaryDirectory(*std::move(created));
    AnchorStatisticsOptions options = Options();
    auto made = MakeAnchorStatistics(options);
    ASSERT_TRUE(made.ok()) << made.status();
    statistics_ = new AnchorStatisticsResult(*std::move(made));
  }
  static void TearDownTestSuite() {
    delete statistics_;
    delete directory_;
  }

  static AnchorStatisticsOptions Options() {
    AnchorStatisticsOptions options;
    options.model_directory = model::TinyAnchor();
    options.classes = {{"prose", {Text("public_prose.jsonl")}},
                       {"heldout", {Text("public_heldout.jsonl")}},
                       {"python", {Text("background_python.jsonl")}}};
    options.window_tokens = 64;
    options.windows_per_class = 10;
    options.heldout_windows = 6;
    options.sample_stride = 3;
    options.first_layer = 1;
    options.output_directory = directory_->path();
    return options;
  }

  // An expert near the anchor that leaves public text alone: its rows point
  // away from what public inputs have in common.
  static Expert GoodExpert() {
    Expert expert =
        model::RandomExpert(*model_format::LoadModelConfig(model::TinyAnchor()),
                            {0, 128, 256, 384}, "good", 1);
    const auto file = safetensors::File::Open(
        statistics_->statistics_path,
        {.limits = safetensors::HeaderLimits::ForModel()});
    for (size_t l = 0; l < 4; ++l) {
      expert.router_D[l] = at::zeros({128});
      if (l > 0) {
        const at::Tensor mean =
            model::ReadTensor(**file, "layers." + std::to_string(l) + ".prose",
                              at::kFloat)
                ->mean(0);
        expert.router_D[l] = mean * (-6.0 / mean.square().sum());
      }
    }
    return expert;
  }

  StatusOr<std::vector<GateResult>> Validate(const Expert& expert) const {
    const fs::path path = directory_->path() / "expert.safetensors";
    RETURN_IF_ERROR(WriteExpert(expert, path));
    return ValidateFile(path, expert.widths());
  }

  StatusOr<std::vector<GateResult>> ValidateFile(
      const fs::path& path, std::vector<int64_t> widths,
      const ValidationLimits& limits = {}) const {
    return ValidateExpert(
        {.model_directory = model::TinyAnchor(),
         .expert_path = path,
         .widths = std::move(widths),
         .public_tokens_path = statistics_->tokens_path,
         .public_statistics_path = statistics_->statistics_path,
         .limits = limits});
  }

  // An expert whose outputs are ten times as large as usual, with a share of
  // public text below the router's limit.
  static Expert ShoutingExpert() {
    Expert expert = GoodExpert();
    for (size_t l = 1; l < 4; ++l) {
      expert.router_D[l] = expert.router_D[l] * 0.25;
      expert.layers[l]->gate_FD = expert.layers[l]->gate_FD * 2;
      expert.layers[l]->up_FD = expert.layers[l]->up_FD * 2;
      expert.layers[l]->down_DF = expert.layers[l]->down_DF * 2.5;
    }
    return expert;
  }

  static void ExpectRefused(const StatusOr<std::vector<GateResult>>& gates,
                            const std::string& gate,
                            const std::string& detail) {
    ASSERT_TRUE(gates.ok()) << gates.status();
    EXPECT_EQ(gates->back().name, gate);
    EXPECT_FALSE(gates->back().passed);
    EXPECT_THAT(gates->back().detail, HasSubstr(detail));
  }

  static TemporaryDirectory* directory_;
  static AnchorStatisticsResult* statistics_;
};

TemporaryDirectory* ValidationTest::directory_ = nullptr;
AnchorStatisticsResult* ValidationTest::statistics_ = nullptr;

TEST_F(ValidationTest, StatisticsHaveTheWindowsAndInputsOfEveryClass) {
  const auto tokens = safetensors::File::Open(statistics_->tokens_path);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ((*tokens)->Find("prose")->shape, safetensors::Shape({10, 64}));
  EXPECT_EQ((*tokens)->Find("heldout")->shape, safetensors::Shape({6, 64}));
  const auto file = safetensors::File::Open(
      statistics_->statistics_path,
      {.limits = safetensors::HeaderLimits::ForModel()});
  ASSERT_TRUE(file.ok()) << file.status();
  // 64 = 21 * 3 + 1: every third token of each window, from its first.
  EXPECT_EQ((*file)->Find("layers.1.prose")->shape,
            safetensors::Shape({220, 128}));
  EXPECT_NE((*file)->Find("layers.3.python"), nullptr);
  EXPECT_EQ((*file)->Find("layers.0.prose"), nullptr);
  EXPECT_EQ((*file)->Find("layers.1.heldout"), nullptr);
  EXPECT_EQ((*file)->Find("layers.0.importance")->shape,
            safetensors::Shape({384}));

  // Losses are those of the windows in the token file.
  const auto lm = model::LoadModel(model::TinyAnchor());
  const auto ids = model::ReadTokenIds(**tokens, "heldout", 2048);
  ASSERT_TRUE(lm.ok() && ids.ok());
  const auto loss = evaluation::EvaluateWindows(*lm, *ids);
  ASSERT_TRUE(loss.ok()) << loss.status();
  ASSERT_EQ(statistics_->losses.size(), 2u);
  EXPECT_EQ(statistics_->losses[1].name, "heldout");
  EXPECT_NEAR(statistics_->losses[1].log_loss, loss->mean, 1e-5);
  EXPECT_EQ(statistics_->losses[1].tokens, 6 * 63);
}

TEST_F(ValidationTest, StatisticsRefuseUnsuitableClasses) {
  AnchorStatisticsOptions options = Options();
  options.classes.pop_back();
  options.classes.erase(options.classes.begin() + 1);
  EXPECT_THAT(MakeAnchorStatistics(options).status().ToString(),
              HasSubstr("\"heldout\" is missing"));
  options = Options();
  options.classes.push_back(options.classes[0]);
  EXPECT_THAT(MakeAnchorStatistics(options).status().ToString(),
              HasSubstr("named twice"));
  options = Options();
  options.window_tokens = 5000;
  EXPECT_THAT(MakeAnchorStatistics(options).status().ToString(),
              HasSubstr("has 5000 tokens"));
}

TEST_F(ValidationTest, GoodExpertPassesAllGates) {
  const auto gates = Validate(GoodExpert());
  ASSERT_TRUE(gates.ok()) << gates.status();
  std::vector<std::string> names;
  for (const GateResult& gate : *gates) {
    names.push_back(gate.name);
    EXPECT_TRUE(gate.passed) << gate.name << ": " << gate.detail;
  }
  EXPECT_THAT(names, ElementsAre("file", "values", "router", "behaviour",
                                 "evaluation"));
}

// GoodExpert with layer 3 as a difference of rank 2 to the anchor.
model::NamedTensors WithDifference(const fs::path& path, double scale) {
  const auto file = *safetensors::File::Open(path);
  at::manual_seed(9);
  model::NamedTensors tensors;
  for (const auto& info : file->tensors()) {
    const auto dot = info.name.find("_proj.weight");
    if (info.name.starts_with("layers.3.") && dot != std::string::npos) {
      const auto add = [&](const char* factor, int64_t rows, int64_t columns) {
        tensors.emplace_back(
            info.name.substr(0, dot) + "_proj." + factor + ".weight",
            (at::randn({rows, columns}) * scale).to(at::kBFloat16));
      };
      add("lora_A", 2, info.shape[1]);
      add("lora_B", info.shape[0], 2);
    } else {
      tensors.emplace_back(info.name, *model::ReadTensor(*file, info));
    }
  }
  return tensors;
}

TEST_F(ValidationTest, DifferencesAreJudgedByTheMatricesThatTheyMake) {
  const fs::path path = directory_->path() / "expert.safetensors";
  const fs::path low = directory_->path() / "low.safetensors";
  const Expert expert = GoodExpert();
  ASSERT_TRUE(WriteExpert(expert, path).ok());
  ASSERT_TRUE(model::WriteTensors(low, WithDifference(path, 0.02)).ok());
  const auto gates = ValidateFile(low, expert.widths());
  ASSERT_TRUE(gates.ok()) << gates.status();
  EXPECT_TRUE(gates->back().passed) << gates->back().detail;
  EXPECT_EQ(gates->size(), 5u);
  // Factors of usual size whose product is not.
  ASSERT_TRUE(model::WriteTensors(low, WithDifference(path, 3)).ok());
  ExpectRefused(ValidateFile(low, expert.widths()), "values", "in layer 3");
  auto infinite = WithDifference(path, 0.02);
  for (auto& [name, tensor] : infinite) {
    if (name == "layers.3.up_proj.lora_B.weight") {
      tensor[7][1] = std::numeric_limits<float>::infinity();
    }
  }
  ASSERT_TRUE(model::WriteTensors(low, infinite).ok());
  ExpectRefused(ValidateFile(low, expert.widths()), "values",
                "layer 3: up_proj");
}

TEST_F(ValidationTest, FileGateRefusesOtherWidthsNamesAndMetadata) {
  const fs::path path = directory_->path() / "expert.safetensors";
  const Expert expert = GoodExpert();
  ASSERT_TRUE(WriteExpert(expert, path).ok());
  ExpectRefused(ValidateFile(path, {0, 128, 256, 256}), "file", "manifest");

  const auto file = safetensors::File::Open(path);
  std::vector<safetensors::TensorView> views;
  for (const auto& info : (*file)->tensors()) {
    views.push_back(
        {{info.name, info.dtype, info.shape}, (*file)->Bytes(info)});
  }
  const fs::path other = directory_->path() / "other.safetensors";
  ASSERT_TRUE(
      safetensors::WriteFile(other, views, {.metadata = {{"format", "pt"}}})
          .ok());
  ExpectRefused(ValidateFile(other, expert.widths()), "file", "metadata");
  views.back().spec.name = "layers.3.router.offset";
  ASSERT_TRUE(safetensors::WriteFile(other, views).ok());
  ExpectRefused(ValidateFile(other, expert.widths()), "file",
                "layers.3.router.bias");
  ASSERT_TRUE(WriteFileAtomic(other, "not a safetensors file").ok());
  ExpectRefused(ValidateFile(other, expert.widths()), "file", "");
  Expert odd = expert;
  odd.layers[2]->gate_FD = odd.layers[2]->gate_FD.narrow(0, 0, 100);
  odd.layers[2]->up_FD = odd.layers[2]->up_FD.narrow(0, 0, 100);
  odd.layers[2]->down_DF = odd.layers[2]->down_DF.narrow(1, 0, 100);
  ExpectRefused(Validate(odd), "file", "multiple of 128");
}

TEST_F(ValidationTest, ValuesGateRefusesWhatIsNotFiniteOrTooLarge) {
  Expert expert = GoodExpert();
  expert.layers[1]->up_FD = expert.layers[1]->up_FD.clone();
  expert.layers[1]->up_FD[3][4] = std::numeric_limits<float>::infinity();
  ExpectRefused(Validate(expert), "values", "layer 1: up_proj");
  expert = GoodExpert();
  expert.router_bias[2] = at::full({}, std::nanf(""));
  ExpectRefused(Validate(expert), "values", "layer 2");
  expert = GoodExpert();
  expert.layers[3]->down_DF = expert.layers[3]->down_DF * 100;
  ExpectRefused(Validate(expert), "values", "rms_ratio");
  expert = GoodExpert();
  expert.layers[3]->down_DF = expert.layers[3]->down_DF.clone();
  expert.layers[3]->down_DF[0][0] = 1000.0;
  ExpectRefused(Validate(expert), "values", "in layer 3, down_proj");
}

TEST_F(ValidationTest, RouterGateRefusesRowsThatCapturePublicText) {
  Expert expert = GoodExpert();
  for (at::Tensor& row : expert.router_D) {
    row = -row;
  }
  ExpectRefused(Validate(expert), "router", "public_share");
  expert = GoodExpert();
  for (at::Tensor& row : expert.router_D) {
    row = at::zeros_like(row);  // half of everything
  }
  ExpectRefused(Validate(expert), "router", "public_share: got 0.5");
  expert = GoodExpert();
  expert.router_D[2] = expert.router_D[2] * 1e5;
  ExpectRefused(Validate(expert), "router", "row_norm");
}

TEST_F(ValidationTest, BehaviourGateRefusesOutputsOfUnusualSize) {
  const auto gates = Validate(ShoutingExpert());
  ExpectRefused(gates, "behaviour", "output_ratio");
  ASSERT_EQ((*gates)[3].measurements.size(), 2u);
  const double highest = (*gates)[3].measurements[0].value;
  const double mean = (*gates)[3].measurements[1].value;
  EXPECT_GT(highest, mean);
  EXPECT_GT(mean, 2);

  // The anchor's own FFN measures 1, half of its output 0.5.
  Expert copy = GoodExpert();
  const auto lm = model::LoadModel(model::TinyAnchor());
  for (size_t l = 1; l < 4; ++l) {
    copy.layers[l] = lm->layers[l].ffn;
    copy.layers[l]->down_DF = copy.layers[l]->down_DF * 0.5;
  }
  const auto half = Validate(copy);
  ASSERT_TRUE(half.ok()) << half.status();
  ASSERT_GE(half->size(), 4u);
  EXPECT_NEAR((*half)[3].measurements[0].value, 0.5, 0.01);
  EXPECT_NEAR((*half)[3].measurements[1].value, 0.5, 0.01);
}

TEST_F(ValidationTest, EvaluationGateRefusesWhatHarmsPublicText) {
  const fs::path path = directory_->path() / "expert.safetensors";
  const Expert expert = ShoutingExpert();
  ASSERT_TRUE(WriteExpert(expert, path).ok());
  const auto gates =
      ValidateFile(path, expert.widths(),
                   {.max_output_ratio = 1e6, .max_mean_output_ratio = 1e6});
  ExpectRefused(gates, "evaluation", "public_loss_increase");
  EXPECT_GT((*gates)[4].measurements.back().value, 0.05);
}

TEST_F(ValidationTest, ReleaseIsEvaluatedAgainstItsAnchor) {
  const fs::path release = directory_->path() / "release";
  ASSERT_TRUE(
      WriteRelease(model::TinyAnchor(), {GoodExpert()}, true, release).ok());
  const EvaluateReleaseOptions options = {
      .anchor_directory = model::TinyAnchor(),
      .release = {.directory = release},
      .public_tokens_path = statistics_->tokens_path};
  const auto evaluated = EvaluateRelease(options);
  ASSERT_TRUE(evaluated.ok()) << evaluated.status();
  EXPECT_NEAR(evaluated->anchor.mean, statistics_->losses[1].log_loss, 1e-5);
  EXPECT_NE(evaluated->release.mean, evaluated->anchor.mean);
  EXPECT_NEAR(evaluated->release.mean, evaluated->anchor.mean, 0.05);
  const auto lm = model::LoadModel(release);
  const auto tokens = safetensors::File::Open(statistics_->tokens_path);
  const auto ids = model::ReadTokenIds(**tokens, "heldout", 2048);
  EXPECT_NEAR(evaluation::EvaluateWindows(*lm, *ids)->mean,
              evaluated->release.mean, 1e-5);

  // Another anchor inside the release is found.
  fs::remove(release / "anchor/model.safetensors");
  auto bytes = ReadFile(model::TinyAnchor() / "model.safetensors");
  ASSERT_TRUE(bytes.ok());
  (*bytes)[bytes->size() - 2] ^= 1;
  ASSERT_TRUE(
      WriteFileAtomic(release / "anchor/model.safetensors", *bytes).ok());
  EXPECT_EQ(EvaluateRelease(options).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tributary::coordinator
