#include "contributor/calibration/importance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/base/files.h"
#include "common/model/load.h"
#include "contributor/calibration/calibrate.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using ::testing::HasSubstr;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";
constexpr int64_t kExpertWidth = 256;

Status GoOn(double) { return absl::OkStatus(); }

// The expert of make_importance_reference.py.
model::CausalLm WithExpert(const model::CausalLm& anchor) {
  model::CausalLm lm = anchor;
  model::Expert expert{.name = "expert"};
  expert.layers.resize(lm.num_layers());
  for (int64_t l = 0; l < lm.num_layers(); ++l) {
    Tensor row = at::zeros({lm.config.hidden_size});
    if (l >= 2) {
      const model::Ffn& ffn = lm.layers[l].ffn;
      expert.layers[l] = model::Ffn{
          .gate_FD = ffn.gate_FD.slice(0, 0, kExpertWidth) * 0.5,
          .up_FD = ffn.up_FD.slice(0, 0, kExpertWidth) * 2.0,
          .down_DF =
              (ffn.down_DF.slice(1, 0, kExpertWidth) * 0.75).contiguous()};
      row = (at::sin(at::arange(lm.config.hidden_size, at::kDouble) *
                     static_cast<double>(l + 1)) /
             16)
                .to(at::kFloat);
    }
    expert.router_D.push_back(row);
    expert.router_bias.push_back(
        at::full({}, l >= 2 ? static_cast<double>(l) / 8 : 0.0, at::kFloat));
  }
  EXPECT_TRUE(model::AttachExpert(lm, std::move(expert)).ok());
  return lm;
}

std::set<int64_t> Top(const Tensor& scores, int64_t count) {
  const Tensor order = scores.argsort(/*stable=*/true, 0, /*descending=*/true);
  std::set<int64_t> top;
  for (int64_t i = 0; i < count; ++i) {
    top.insert(order[i].item<int64_t>());
  }
  return top;
}

class ImportanceTest : public ::testing::Test {
 protected:
  ImportanceTest()
      : anchor_(*model::LoadModel(kFixtures / "tiny_anchor")),
        wanted_(*OpenTensorFile(kFixtures / "reference/formulas.safetensors")) {
  }

  fs::path Path(const std::string& name) const { return folder_.path() / name; }

  // Many windows of the reference's ids and of shuffled ones, [windows, 24].
  fs::path WriteWindows(int64_t windows) {
    at::manual_seed(3);
    const fs::path path = Path("tokens.safetensors");
    EXPECT_TRUE(
        WriteTensors(path, {{"input_ids",
                             at::randint(0, 2000, {windows, 24}, at::kLong)}})
            .ok());
    return path;
  }

  CalibrateOptions Options(const fs::path& tokens, const std::string& output) {
    return {.tokens_path = tokens,
            .first_layer = 1,
            .batch_tokens = 48,
            .importance_path = Path(output),
            .formulas = {Formula::kWindowMean, Formula::kWanda, Formula::kReap,
                         Formula::kTaylor}};
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("importance");
  model::CausalLm anchor_;
  std::shared_ptr<const safetensors::File> wanted_;
};

TEST_F(ImportanceTest, FormulasAgreeWithTheirReferences) {
  const fs::path tokens = kFixtures / "reference/logits.safetensors";
  const model::CausalLm expert = WithExpert(anchor_);
  for (const std::string subject : {"anchor", "expert"}) {
    const CalibrateOptions options = Options(tokens, subject + ".safetensors");
    const auto result =
        Calibrate(subject == "anchor" ? anchor_ : expert, options, GoOn);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto made = *OpenTensorFile(options.importance_path);
    for (int64_t l = subject == "anchor" ? 1 : 2; l < 4; ++l) {
      for (const Formula formula : options.formulas) {
        const std::string name(FormulaName(formula));
        SCOPED_TRACE(fmt::format("{} layer {} {}", subject, l, name));
        const Tensor found =
            MapTensor(made, fmt::format("layers.{}.importance.{}", l, name))
                ->to(at::kDouble);
        const Tensor wanted = *MapTensor(
            wanted_, fmt::format("{}.layers.{}.{}", subject, l, name));
        const Tensor error = (found - wanted).abs();
        EXPECT_LT((error.norm() / wanted.norm()).item<double>(), 1e-6);
        EXPECT_LT((error / wanted).max().item<double>(), 1e-5);
        EXPECT_EQ(Top(found, 128), Top(wanted, 128));
      }
    }
    EXPECT_FALSE(MapTensor(made, "layers.0.importance").ok());
    EXPECT_TRUE(at::equal(*MapTensor(made, "layers.3.importance"),
                          *MapTensor(made, "layers.3.importance.window-mean")));
  }
}

TEST_F(ImportanceTest, PartsInAnyOrderMergeToTheSameBytes) {
  CalibrateOptions options = Options(WriteWindows(11), "whole.safetensors");
  options.write_sums = true;
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  std::vector<ImportanceSums> parts;
  options.shards = 3;
  for (options.shard = 0; options.shard < options.shards; ++options.shard) {
    options.importance_path = Path(fmt::format("part{}", options.shard));
    ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
    parts.push_back(*ReadImportanceSums(options.importance_path));
  }
  const auto merged = [&](std::vector<int> order) {
    ImportanceSums sums = parts[order[0]];
    for (size_t i = 1; i < order.size(); ++i) {
      EXPECT_TRUE(sums.Merge(parts[order[i]]).ok());
    }
    const fs::path path = Path("merged.safetensors");
    EXPECT_TRUE(WriteImportance(path, sums, {.with_sums = true}).ok());
    return *ReadFile(path);
  };
  const std::string whole = *ReadFile(Path("whole.safetensors"));
  EXPECT_EQ(merged({0, 1, 2}), whole);
  EXPECT_EQ(merged({2, 0, 1}), whole);
  // (1 + 2) + 0: another grouping.
  ImportanceSums pair = parts[1];
  ASSERT_TRUE(pair.Merge(parts[2]).ok());
  ASSERT_TRUE(pair.Merge(parts[0]).ok());
  ASSERT_TRUE(WriteImportance(Path("pair"), pair, {.with_sums = true}).ok());
  EXPECT_EQ(*ReadFile(Path("pair")), whole);
}

TEST_F(ImportanceTest, StoppedRunsGoOnToTheSameBytes) {
  CalibrateOptions options = Options(WriteWindows(7), "whole.safetensors");
  const auto whole = Calibrate(anchor_, options, GoOn);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_FALSE(whole->resumed);
  options.importance_path = Path("stopped.safetensors");
  options.resume_path = Path("partial.safetensors");
  options.resume_batches = 1000;
  bool resumed = true;
  // Stopped behind every batch of both passes, each time in a new run.
  for (int steps = 0; steps < 40; ++steps) {
    int left = steps == 0 ? 0 : 1;
    const auto result = Calibrate(anchor_, options, [&](double) -> Status {
      return left-- > 0 ? absl::OkStatus() : absl::CancelledError("stop");
    });
    if (result.ok()) {
      EXPECT_TRUE(result->resumed);
      EXPECT_EQ(result->train_log_loss, whole->train_log_loss);
      resumed = true;
      break;
    }
    ASSERT_TRUE(absl::IsCancelled(result.status())) << result.status();
    resumed = false;
  }
  ASSERT_TRUE(resumed);
  EXPECT_EQ(*ReadFile(Path("stopped.safetensors")),
            *ReadFile(Path("whole.safetensors")));
  EXPECT_FALSE(fs::exists(options.resume_path));
}

TEST_F(ImportanceTest, AnotherRunsRemainsAreIgnored) {
  CalibrateOptions options = Options(WriteWindows(4), "whole.safetensors");
  options.formulas = {Formula::kWanda};
  options.resume_path = Path("partial.safetensors");
  const auto stop = [](double) { return absl::CancelledError("stop"); };
  ASSERT_FALSE(Calibrate(anchor_, options, stop).ok());
  ASSERT_TRUE(fs::exists(options.resume_path));
  options.formulas = {Formula::kReap};
  const auto result = Calibrate(anchor_, options, GoOn);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->resumed);
}

TEST_F(ImportanceTest, RowsWeighTheAnchorsTokens) {
  CalibrateOptions options = Options(WriteWindows(2), "rows.safetensors");
  options.formulas = {Formula::kReap};
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  const Tensor plain =
      MapTensor(*OpenTensorFile(options.importance_path), "layers.2.importance")
          ->clone();
  NamedTensors rows;
  for (int l = 0; l < 4; ++l) {
    rows.emplace_back(fmt::format("layers.{}.router.weight", l),
                      at::zeros({128}));
    rows.emplace_back(fmt::format("layers.{}.router.bias", l), at::zeros({}));
  }
  options.router_path = Path("rows");
  ASSERT_TRUE(WriteTensors(options.router_path, rows).ok());
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  // Rows of zeros: half of every token.
  EXPECT_TRUE(at::allclose(*MapTensor(*OpenTensorFile(options.importance_path),
                                      "layers.2.importance"),
                           plain / 2));
}

TEST_F(ImportanceTest, SecondMomentsAreThoseOfTheInputs) {
  CalibrateOptions options = Options(WriteWindows(5), "importance");
  options.second_moments_path = Path("moments");
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  const at::NoGradGuard no_grad;
  std::vector<Tensor> inputs(4);
  model::Hooks hooks;
  hooks.moe_input = [&](int64_t layer, const Tensor& x_TD) {
    inputs[layer] = x_TD.to(at::kDouble);
  };
  const Tensor ids =
      *MapTensor(*OpenTensorFile(options.tokens_path), "input_ids");
  model::HiddenStates(anchor_, ids, {.hooks = &hooks});
  const auto file = *OpenTensorFile(options.second_moments_path);
  EXPECT_EQ((*MapTensor(file, "tokens")).item<int64_t>(), ids.numel());
  for (int l = 1; l < 4; ++l) {
    const Tensor& x = inputs[l];
    EXPECT_TRUE(at::allclose(
        *MapTensor(file, fmt::format("layers.{}.second_moment", l)),
        at::mm(x.t(), x), 1e-4, 1e-4));
    EXPECT_TRUE(at::allclose(*MapTensor(file, fmt::format("layers.{}.sum", l)),
                             x.sum(0), 1e-4, 1e-4));
  }
}

TEST_F(ImportanceTest, RefusesWhatDoesNotBelongTogether) {
  CalibrateOptions options = Options(WriteWindows(2), "a");
  options.formulas = {Formula::kWanda};
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  EXPECT_THAT(ReadImportanceSums(Path("a")).status().message(),
              HasSubstr("--sums"));
  options.write_sums = true;
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  ImportanceSums a = *ReadImportanceSums(Path("a"));
  options.formulas = {Formula::kReap};
  options.importance_path = Path("b");
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  EXPECT_THAT(a.Merge(*ReadImportanceSums(Path("b"))).message(),
              HasSubstr("other formulas"));
  options.formulas = {Formula::kWanda};
  options.first_layer = 2;
  ASSERT_TRUE(Calibrate(WithExpert(anchor_), options, GoOn).ok());
  EXPECT_THAT(a.Merge(*ReadImportanceSums(Path("b"))).message(),
              HasSubstr("different experts or anchors"));
  EXPECT_TRUE(
      absl::IsNotFound(ReadImportanceScores(Path("b"), "taylor").status()));
  EXPECT_TRUE(ReadImportanceScores(Path("b"), "wanda").ok());
  options.formulas = {Formula::kWanda, Formula::kWanda};
  EXPECT_TRUE(
      absl::IsInvalidArgument(Calibrate(anchor_, options, GoOn).status()));
  options.formulas = {Formula::kWanda};
  options.shard = 3;
  options.shards = 3;
  EXPECT_TRUE(
      absl::IsInvalidArgument(Calibrate(anchor_, options, GoOn).status()));
  EXPECT_THAT(ParseFormula("magnitude").status().message(),
              HasSubstr("got magnitude, wanted window-mean"));
}

}  // namespace
}  // namespace tributary::contributor
