// Logits and greedy continuations of every model family against transformers,
// on random tiny models that a script makes when the test starts.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "common/base/files.h"
#include "common/evaluation/generate.h"
#include "common/model/causal_lm.h"
#include "common/model/load.h"
#include "common/model/tensor_io.h"

namespace tributary::model {
namespace {

namespace fs = std::filesystem;

class ModelsTest : public ::testing::Test {
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

  static std::vector<fs::path> Models() {
    std::vector<fs::path> models;
    for (const auto& entry : fs::directory_iterator(directory_->path())) {
      if (entry.is_directory()) {
        models.push_back(entry.path());
      }
    }
    std::sort(models.begin(), models.end());
    return models;
  }

  // Calls `body(lm, reference)` for every model, loaded with weights of
  // `dtype`.
  template <typename Body>
  static void ForEachModel(at::ScalarType dtype, const Body& body) {
    at::NoGradGuard no_gradients;
    for (const fs::path& path : Models()) {
      SCOPED_TRACE(path.filename().string());
      const auto lm = LoadModel(path, {.dtype = dtype});
      ASSERT_TRUE(lm.ok()) << lm.status();
      const auto file =
          safetensors::File::Open(path / "reference.safetensors",
                                  {safetensors::HeaderLimits::ForModel()});
      ASSERT_TRUE(file.ok()) << file.status();
      body(*lm, **file);
    }
  }

  static void ExpectLogits(const CausalLm& lm, const safetensors::File& file) {
    for (const int length : {1, 7, 64, 512}) {
      const std::string suffix = "." + std::to_string(length);
      const auto ids =
          ReadTokenIds(file, "input_ids" + suffix, lm.config.vocab_size);
      const auto wanted = ReadTensor(file, "logits" + suffix);
      ASSERT_TRUE(ids.ok() && wanted.ok());
      const Tensor got = Logits(lm, HiddenStates(lm, *ids));
      EXPECT_LT((got - *wanted).abs().max().item<double>(), 1e-4)
          << "length " << length << ", largest logit "
          << wanted->abs().max().item<double>();
    }
  }

  static TemporaryDirectory* directory_;
};

TemporaryDirectory* ModelsTest::directory_ = nullptr;

TEST_F(ModelsTest, LogitsEqualTransformers) {
  std::set<model_format::ModelType> types;
  ForEachModel(at::kFloat,
               [&](const CausalLm& lm, const safetensors::File& file) {
                 types.insert(lm.config.type);
                 ExpectLogits(lm, file);
               });
  EXPECT_EQ(types.size(), 5u);
}

TEST_F(ModelsTest, WeightsKeptInSixteenBitsGiveTheLogitsOfTheirValues) {
  int checked = 0;
  ForEachModel(at::kBFloat16,
               [&](const CausalLm& lm, const safetensors::File& file) {
                 // Only the models that are stored so have the values of the
                 // reference.
                 if (file.path().parent_path().filename().string().ends_with(
                         "gqa_untied_1")) {
                   EXPECT_EQ(lm.head_VD.scalar_type(), at::kBFloat16);
                   ExpectLogits(lm, file);
                   ++checked;
                 }
               });
  EXPECT_EQ(checked, 5);
}

TEST_F(ModelsTest, GreedyContinuationsEqualTransformers) {
  ForEachModel(at::kFloat, [](const CausalLm& lm,
                              const safetensors::File& file) {
    const auto prompt = ReadTokenIds(file, "input_ids.7", lm.config.vocab_size);
    const auto wanted = ReadTensor(file, "generated");
    ASSERT_TRUE(prompt.ok() && wanted.ok());
    const Tensor row = prompt->select(0, 0);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < row.numel(); ++i) {
      ids.push_back(static_cast<int32_t>(row[i].item<int64_t>()));
    }
    const auto made =
        evaluation::Generate(lm, ids, {.max_tokens = wanted->numel()});
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_TRUE(at::equal(at::tensor(made->ids).to(at::kLong), *wanted))
        << *wanted << at::tensor(made->ids);
  });
}

TEST_F(ModelsTest, CachedStepsEqualTheWholeSequence) {
  ForEachModel(at::kFloat, [](const CausalLm& lm, const safetensors::File&) {
    torch::manual_seed(5);
    const Tensor ids = at::randint(lm.config.vocab_size, {2, 20}, at::kLong);
    const Tensor whole = HiddenStates(lm, ids);
    KvCache cache = KvCache::Create(lm, 2, 20);
    int64_t begin = 0;
    for (const int64_t count : {5, 1, 1, 6, 7}) {
      const Tensor part =
          HiddenStates(lm, ids.narrow(1, begin, count), {.cache = &cache});
      cache.length += count;
      EXPECT_LT(
          (part - whole.narrow(1, begin, count)).abs().max().item<double>(),
          1e-4)
          << "positions from " << begin;
      begin += count;
    }
  });
}

}  // namespace
}  // namespace tributary::model
