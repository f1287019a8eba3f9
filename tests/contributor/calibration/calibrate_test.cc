#include "contributor/calibration/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/files.h"
#include "common/model/load.h"
#include "contributor/calibration/fit_router.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using ::testing::HasSubstr;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";

Status GoOn(double) { return absl::OkStatus(); }

class CalibrateTest : public ::testing::Test {
 protected:
  CalibrateTest()
      : anchor_(*model::LoadModel(kFixtures / "tiny_anchor")),
        reference_(
            *OpenTensorFile(kFixtures / "reference/logits.safetensors")) {}

  // The reference's windows as prepared tokens: [n, 48].
  fs::path WriteTokens(int64_t train, int64_t heldout) {
    const Tensor ids = MapTensor(reference_, "input_ids")->to(at::kInt);
    const fs::path path = folder_.path() / "tokens.safetensors";
    EXPECT_TRUE(WriteTensors(path, {{"train", ids.slice(0, 0, train)},
                                    {"heldout", ids.slice(0, 2 - heldout, 2)}})
                    .ok());
    return path;
  }

  CalibrateOptions Options(int64_t first_layer) {
    return {.tokens_path = WriteTokens(2, 1),
            .first_layer = first_layer,
            .batch_tokens = 48,
            .trunk_path = folder_.path() / "trunk.safetensors",
            .importance_path = folder_.path() / "importance.safetensors",
            .activations_path = folder_.path() / "activations.safetensors"};
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("calibrate");
  model::CausalLm anchor_;
  std::shared_ptr<const safetensors::File> reference_;
};

TEST_F(CalibrateTest, ImportanceAgreesWithNumPy) {
  CalibrateOptions options = Options(0);
  options.tokens_path = kFixtures / "reference/logits.safetensors";
  options.trunk_path.clear();
  options.activations_path.clear();
  const auto result = Calibrate(anchor_, options, GoOn);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->tokens, 96);
  EXPECT_EQ(result->heldout_log_loss, 0);
  const auto made = *OpenTensorFile(options.importance_path);
  const auto wanted =
      *OpenTensorFile(kFixtures / "reference/importance.safetensors");
  ASSERT_EQ(made->tensors().size(), 4u);
  for (int l = 0; l < 4; ++l) {
    const std::string name = fmt::format("layers.{}.importance", l);
    const Tensor a = MapTensor(made, name)->to(at::kDouble);
    const Tensor b = *MapTensor(wanted, name);
    EXPECT_LT(((a - b).abs() / b).max().item<double>(), 1e-4);
  }
}

TEST_F(CalibrateTest, TrunkSamplesAndLossesAreTheModels) {
  const CalibrateOptions options = Options(2);
  const auto result = Calibrate(anchor_, options, GoOn);
  ASSERT_TRUE(result.ok()) << result.status();
  const Tensor ids = *MapTensor(reference_, "input_ids");
  const Tensor logits = *MapTensor(reference_, "logits");
  const Tensor losses = at::cross_entropy_loss(
      logits.narrow(1, 0, 47).reshape({94, -1}).to(at::kDouble),
      ids.narrow(1, 1, 47).reshape({94}), {}, at::Reduction::None);
  EXPECT_NEAR(result->train_log_loss, losses.mean().item<double>(), 1e-4);
  EXPECT_NEAR(result->heldout_log_loss,
              losses.slice(0, 47, 94).mean().item<double>(), 1e-4);

  const at::NoGradGuard no_grad;
  const Tensor x = model::RunLayers(anchor_, model::Embed(anchor_, ids), 0, 2);
  const auto trunk = *OpenTensorFile(options.trunk_path);
  EXPECT_TRUE(at::allclose(*MapTensor(trunk, "train"), x, 1e-5, 1e-5));
  EXPECT_TRUE(
      at::allclose(*MapTensor(trunk, "heldout"), x.slice(0, 1, 2), 1e-5, 1e-5));
  EXPECT_EQ(trunk->metadata().at("first_layer"), "2");

  const auto samples = *OpenTensorFile(options.activations_path);
  EXPECT_EQ(samples->tensors().size(), 2u);
  const Tensor kept = MapTensor(samples, "layers.2.x")->to(at::kFloat);
  const auto moe =
      *OpenTensorFile(kFixtures / "reference/moe_inputs.safetensors");
  const Tensor wanted =
      MapTensor(moe, "layers.2.moe_input")->reshape({96, 128});
  EXPECT_TRUE(at::allclose(kept, wanted.slice(0, 0, 96, 2), 1e-2, 1e-3));
}

TEST_F(CalibrateTest, BatchingAndStridesChangeNoSample) {
  CalibrateOptions options = Options(3);
  options.sample_stride = 5;
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  const Tensor one =
      MapTensor(*OpenTensorFile(options.activations_path), "layers.3.x")
          ->clone();
  ASSERT_EQ(one.size(0), 20);
  options.batch_tokens = 1000;
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  const Tensor two =
      *MapTensor(*OpenTensorFile(options.activations_path), "layers.3.x");
  EXPECT_TRUE(at::allclose(one.to(at::kFloat), two.to(at::kFloat), 1e-2, 1e-3));
}

TEST_F(CalibrateTest, RefusesUnsuitableInput) {
  CalibrateOptions options = Options(4);
  EXPECT_THAT(Calibrate(anchor_, options, GoOn).status().message(),
              HasSubstr("first_layer: got 4, wanted 0 to 3"));
  options = Options(2);
  options.sample_stride = -1;
  EXPECT_TRUE(
      absl::IsInvalidArgument(Calibrate(anchor_, options, GoOn).status()));
  options = Options(2);
  ASSERT_TRUE(WriteTensors(options.tokens_path,
                           {{"input_ids", at::full({1, 8}, 2048, at::kLong)}})
                  .ok());
  EXPECT_THAT(Calibrate(anchor_, options, GoOn).status().message(),
              HasSubstr("holds token 2048, the model's vocabulary has 2048"));
  ASSERT_TRUE(WriteTensors(options.tokens_path,
                           {{"input_ids", at::zeros({8}, at::kLong)}})
                  .ok());
  EXPECT_THAT(Calibrate(anchor_, options, GoOn).status().message(),
              HasSubstr("wanted int32 or int64 [windows, tokens]"));
  ASSERT_TRUE(WriteTensors(options.tokens_path,
                           {{"train", at::zeros({1, 8}, at::kInt)}})
                  .ok());
  EXPECT_TRUE(absl::IsNotFound(Calibrate(anchor_, options, GoOn).status()));
}

TEST_F(CalibrateTest, StopsWhenTold) {
  const auto status = Calibrate(anchor_, Options(2), [](double) {
                        return absl::CancelledError("interrupted");
                      }).status();
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_FALSE(fs::exists(folder_.path() / "trunk.safetensors"));
}

TEST_F(CalibrateTest, RowsForEveryLayer) {
  const CalibrateOptions options = Options(2);
  ASSERT_TRUE(Calibrate(anchor_, options, GoOn).ok());
  const fs::path statistics = folder_.path() / "statistics.safetensors";
  NamedTensors tensors;
  for (int l = 2; l < 4; ++l) {
    at::manual_seed(l);
    tensors.emplace_back(fmt::format("layers.{}.prose", l),
                         at::randn({40, 128}).to(at::kBFloat16));
    tensors.emplace_back(fmt::format("layers.{}.code", l),
                         at::randn({40, 128}).to(at::kBFloat16));
    tensors.emplace_back(fmt::format("layers.{}.importance", l),
                         at::ones({384}));
  }
  ASSERT_TRUE(WriteTensors(statistics, tensors).ok());
  FitRouterOptions fit = {.activations_path = options.activations_path,
                          .public_statistics_path = statistics,
                          .first_layer = 2};
  const fs::path folded = folder_.path() / "router.safetensors";
  const fs::path unfolded = folder_.path() / "unfolded.safetensors";
  const auto layers = FitRouter(anchor_.config, fit, folded, unfolded, GoOn);
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  EXPECT_EQ((*layers)[1].layer, 3);
  const auto file = *OpenTensorFile(folded);
  EXPECT_EQ(file->tensors().size(), 8u);
  for (int l = 0; l < 4; ++l) {
    const Tensor row =
        *MapFloats(file, fmt::format("layers.{}.router.weight", l), {128});
    const Tensor bias =
        *MapFloats(file, fmt::format("layers.{}.router.bias", l), {});
    EXPECT_EQ(bias.item<float>(), 0);
    EXPECT_EQ(row.count_nonzero().item<int64_t>() > 0, l >= 2);
  }
  EXPECT_NE(MapFloats(*OpenTensorFile(unfolded), "layers.3.router.bias", {})
                ->item<float>(),
            0);
  fit.first_layer = 1;
  EXPECT_THAT(
      FitRouter(anchor_.config, fit, folded, unfolded, GoOn).status().message(),
      HasSubstr("layers.1.x"));
}

}  // namespace
}  // namespace tributary::contributor
