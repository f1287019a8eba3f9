#include "coordinator/routing/tune_router.h"

#include <optional>

#include "common/base/files.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"
#include "coordinator/routing/proxy_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/model/test_models.h"
#include "tests/coordinator/test_release.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr int64_t kWindows = 3;
constexpr int64_t kLength = 24;

class TuneRouterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_.emplace(*TemporaryDirectory::Create("tributary-tune-"));
    const auto config = *model_format::LoadModelConfig(model::TinyAnchor());
    at::manual_seed(3);
    for (const char* name : {"a", "b"}) {
      const model::Expert expert = model::RandomExpert(
          config, {0, 0, 128, 128}, name, static_cast<uint64_t>(name[0]));
      ASSERT_TRUE(WriteExpert(expert, Path(name)).ok());
    }
    model::NamedTensors tokens;
    int64_t low = 0;
    for (const char* name : {"background", "heldout", "prose"}) {
      low += 500;
      tokens.emplace_back(
          name, at::randint(low, low + 200, {kWindows, kLength}, at::kInt));
    }
    ASSERT_TRUE(model::WriteTensors(Path("tokens"), tokens).ok());
  }

  fs::path Path(const std::string& name) const {
    return directory_->path() / name;
  }

  StatusOr<TuneResult> Tune(const std::vector<std::string>& experts,
                            const std::string& output, uint64_t seed = 0,
                            double learning_rate = 2e-3) const {
    TuneOptions options = {.model = {.directory = model::TinyAnchor()},
                           .public_tokens_path = Path("tokens"),
                           .learning_rate = learning_rate,
                           .windows_per_domain = 2,
                           .seed = seed,
                           .output_path = Path(output)};
    for (const std::string& name : experts) {
      options.model.expert_paths.push_back(Path(name));
    }
    return TuneRouter(options);
  }

  std::string Bytes(const std::string& name) const {
    return *ReadFile(Path(name), 1 << 24);
  }

  std::optional<TemporaryDirectory> directory_;
};

TEST_F(TuneRouterTest, TrainsRowsAndNothingElse) {
  const auto tuned = Tune({"a", "b"}, "router");
  ASSERT_TRUE(tuned.ok()) << tuned.status();
  // Two epochs of three windows of prose and two for each expert.
  EXPECT_EQ(tuned->steps, 2 * (kWindows + 2 * 2));
  EXPECT_GT(tuned->first_loss, 0);
  ASSERT_EQ(tuned->proxies.size(), 2u);
  EXPECT_THAT(tuned->proxies[0].classes, ElementsAre("background"));
  EXPECT_EQ(tuned->proxies[1].windows, 2);
  const auto file = *safetensors::File::Open(Path("router"));
  const auto before = *safetensors::File::Open(Path("a"));
  for (int64_t l = 0; l < 4; ++l) {
    const Tensor rows =
        *model::ReadTensor(*file, model_format::RouterWeight(l));
    ASSERT_EQ(rows.size(0), 3);
    EXPECT_EQ(rows[0].count_nonzero().item<int64_t>(), 0);
    const Tensor old =
        *model::ReadTensor(*before, model_format::RouterWeight(l));
    // Where nothing routes, nothing changes.
    EXPECT_EQ(at::equal(rows[1], old), l < 2) << l;
    EXPECT_LT((rows[1] - old).abs().max().item<double>(), 0.1);
  }
}

TEST_F(TuneRouterTest, IsAFunctionOfModelAndSeed) {
  ASSERT_TRUE(Tune({"a"}, "fresh", 5).ok());
  ASSERT_TRUE(Tune({"a", "b"}, "both", 5).ok());
  // Without the expert that left: as if it had never been there.
  ASSERT_TRUE(Tune({"a"}, "rebuilt", 5).ok());
  ASSERT_TRUE(Tune({"a"}, "other", 6).ok());
  EXPECT_EQ(Bytes("rebuilt"), Bytes("fresh"));
  EXPECT_NE(Bytes("other"), Bytes("fresh"));
}

TEST_F(TuneRouterTest, LowersTheLossOfItsText) {
  // Rows at random send half of the tokens to random experts; there is
  // something to learn.
  const auto tuned = Tune({"a", "b"}, "router", 0, 3e-2);
  ASSERT_TRUE(tuned.ok()) << tuned.status();
  const auto measure = [&](const fs::path& router) {
    model::Source source = {.directory = model::TinyAnchor(),
                            .expert_paths = {Path("a"), Path("b")}};
    model::CausalLm lm = *model::LoadSource(source);
    lm.top_k = lm.num_experts();
    if (!router.empty()) {
      const auto file = *safetensors::File::Open(router);
      for (int64_t l = 0; l < 4; ++l) {
        lm.layers[l].router_ED =
            *model::ReadTensor(*file, model_format::RouterWeight(l));
      }
    }
    const at::NoGradGuard no_gradients;
    const auto windows =
        *ReadPublicWindows(**safetensors::File::Open(Path("tokens")), lm);
    const Tensor hidden = model::HiddenStates(lm, windows.ids_WS);
    return model::TokenLogLoss(
               lm, hidden.narrow(1, 0, kLength - 1).flatten(0, 1),
               windows.ids_WS.narrow(1, 1, kLength - 1).flatten())
        .mean()
        .item<double>();
  };
  EXPECT_LT(measure(Path("router")), measure({}));
}

TEST_F(TuneRouterTest, ProxiesAreWhatTheRowClaims) {
  model::CausalLm lm = *model::LoadSource(
      {.directory = model::TinyAnchor(), .expert_paths = {Path("a")}});
  const auto windows =
      ReadPublicWindows(**safetensors::File::Open(Path("tokens")), lm);
  ASSERT_TRUE(windows.ok()) << windows.status();
  EXPECT_EQ(windows->first_layer, 2);
  EXPECT_EQ(windows->ids_WS.size(0), 2 * kWindows);  // heldout stays out
  // A row along one window's mean input claims that window.
  const int64_t chosen = 1;
  std::vector<Tensor> means(4);
  model::Hooks hooks;
  hooks.moe_input = [&](int64_t layer, const Tensor& x_TD) {
    means[layer] = x_TD.view({2 * kWindows, kLength, -1}).mean(1);
  };
  {
    const at::NoGradGuard no_gradients;
    model::HiddenStates(lm, windows->ids_WS, {.hooks = &hooks});
  }
  for (int64_t l = 2; l < 4; ++l) {
    const Tensor row = means[l][chosen] - means[l].mean(0);
    lm.layers[l].router_ED[1].copy_(row * 50 / row.norm());
  }
  const std::vector<Proxy> proxies = SelectProxies(lm, *windows, 2);
  ASSERT_EQ(proxies.size(), 1u);
  ASSERT_EQ(proxies[0].windows.size(), 2u);
  EXPECT_EQ(proxies[0].windows[0], chosen);
  for (const int64_t w : proxies[0].windows) {
    EXPECT_EQ(windows->classes[w], "background");
  }
}

TEST_F(TuneRouterTest, RefusesWhatItCannotTune) {
  EXPECT_EQ(Tune({}, "router").status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Tune({"a"}, "router", 0, -1).status().message(),
              HasSubstr("learning rate -1"));
  ASSERT_TRUE(
      model::WriteTensors(Path("tokens"),
                          {{"heldout", at::zeros({2, kLength}, at::kInt)}})
          .ok());
  EXPECT_THAT(Tune({"a"}, "router").status().message(),
              HasSubstr("no public text"));
  EXPECT_FALSE(fs::exists(Path("router")));
}

}  // namespace
}  // namespace tributary::coordinator
