// Logits of every model family against transformers, on random tiny models
// that a script makes when the test starts.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <filesystem>

#include "common/base/files.h"
#include "common/model/causal_lm.h"
#include "common/model/load.h"
#include "common/model/tensor_io.h"

namespace tributary::model {
namespace {

namespace fs = std::filesystem;

class ModelsTest : public ::testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    auto created = TemporaryDirectory::Create("tributary-models-");
    ASSERT_TRUE(created.ok());
    directory_ = new TemporaryDirectory(*std::move(created));
    const std::string command =
        std::string(TRIBUTARY_PYTHON) + " " + TRIBUTARY_SOURCE_DIR +
        "/tests/numerics/make_models.py " + directory_->path().string() +
        " > " + (directory_->path() / "log").string() + " 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0)
        << ReadFile(directory_->path() / "log").value_or("");
  }
  static void TearDownTestSuite() { delete directory_; }

  static TemporaryDirectory* directory_;
};

TemporaryDirectory* ModelsTest::directory_ = nullptr;

TEST_P(ModelsTest, LogitsEqualTransformers) {
  const fs::path path = directory_->path() / GetParam();
  const auto lm = LoadModel(path);
  ASSERT_TRUE(lm.ok()) << lm.status();
  const auto file = safetensors::File::Open(
      path / "reference.safetensors", {safetensors::HeaderLimits::ForModel()});
  ASSERT_TRUE(file.ok()) << file.status();
  at::NoGradGuard no_gradients;
  for (const int length : {1, 7, 40}) {
    const std::string suffix = "." + std::to_string(length);
    const auto ids =
        ReadTokenIds(**file, "input_ids" + suffix, lm->config.vocab_size);
    const auto wanted = ReadTensor(**file, "logits" + suffix);
    ASSERT_TRUE(ids.ok() && wanted.ok());
    const Tensor got = Logits(*lm, HiddenStates(*lm, *ids));
    EXPECT_LT((got - *wanted).abs().max().item<double>(), 1e-4)
        << "length " << length << ", largest logit "
        << wanted->abs().max().item<double>();
  }
}

TEST_P(ModelsTest, CachedStepsEqualTheWholeSequence) {
  const auto lm = LoadModel(directory_->path() / GetParam());
  ASSERT_TRUE(lm.ok()) << lm.status();
  at::NoGradGuard no_gradients;
  torch::manual_seed(5);
  const Tensor ids = at::randint(lm->config.vocab_size, {2, 20}, at::kLong);
  const Tensor whole = HiddenStates(*lm, ids);
  KvCache cache = KvCache::Create(*lm, 2, 20);
  int64_t begin = 0;
  for (const int64_t count : {5, 1, 1, 6, 7}) {
    const Tensor part =
        HiddenStates(*lm, ids.narrow(1, begin, count), {.cache = &cache});
    cache.length += count;
    EXPECT_LT((part - whole.narrow(1, begin, count)).abs().max().item<double>(),
              1e-4)
        << "positions from " << begin;
    begin += count;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ModelsTest,
                         ::testing::Values("llama_gqa", "llama_mha_tied",
                                           "llama_wide_heads", "llama_linear",
                                           "llama_llama3", "olmo2", "mixtral",
                                           "flex_olmo", "olmoe"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

}  // namespace
}  // namespace tributary::model
