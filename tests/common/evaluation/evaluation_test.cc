#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>

#include "common/base/files.h"
#include "common/evaluation/generate.h"
#include "common/evaluation/log_loss.h"
#include "common/evaluation/logits_file.h"
#include "common/evaluation/text_windows.h"
#include "common/model/tensor_io.h"
#include "tests/common/model/test_models.h"

namespace tributary::evaluation {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EvaluationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = model::LoadModel(model::TinyAnchor());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    lm_ = *std::move(loaded);
    at::manual_seed(2);
    ids_ = at::randint(lm_.config.vocab_size, {7, 33}, at::kLong);
    auto created = TemporaryDirectory::Create("tributary-evaluation-");
    ASSERT_TRUE(created.ok());
    directory_.emplace(*std::move(created));
  }

  Tensor LogitsOf(const Tensor& ids) const {
    at::NoGradGuard no_gradients;
    return model::Logits(lm_, model::HiddenStates(lm_, ids));
  }

  fs::path Write(const std::string& name, const std::string& text) const {
    const fs::path path = directory_->path() / name;
    EXPECT_TRUE(MakeDirectories(path.parent_path()).ok());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  model::CausalLm lm_;
  Tensor ids_;
  std::optional<TemporaryDirectory> directory_;
};

TEST_F(EvaluationTest, LogLossIsTheCrossEntropyOfAllButTheFirstToken) {
  const Tensor losses =
      at::cross_entropy_loss(
          LogitsOf(ids_).narrow(1, 0, 32).flatten(0, 1).to(at::kDouble),
          ids_.narrow(1, 1, 32).flatten(), {}, at::Reduction::None)
          .view({7, 32});
  for (const int64_t batch : {1, 70, 1000}) {
    const auto loss = EvaluateWindows(lm_, ids_, {.batch_tokens = batch});
    ASSERT_TRUE(loss.ok()) << loss.status();
    EXPECT_EQ(loss->tokens, 7 * 32);
    EXPECT_NEAR(loss->mean, losses.mean().item<double>(), 1e-5);
    ASSERT_EQ(loss->window_means.size(), 7u);
    for (int w = 0; w < 7; ++w) {
      EXPECT_NEAR(loss->window_means[w], losses[w].mean().item<double>(), 1e-5);
    }
  }
}

TEST_F(EvaluationTest, TrunkStatesStandForTheLayersBelow) {
  at::NoGradGuard no_gradients;
  const Tensor trunk = model::RunLayers(lm_, model::Embed(lm_, ids_), 0, 2);
  const auto whole = EvaluateWindows(lm_, ids_);
  const auto upper =
      EvaluateWindows(lm_, ids_, {.trunk_WSD = trunk, .first_layer = 2});
  ASSERT_TRUE(whole.ok() && upper.ok());
  EXPECT_NEAR(upper->mean, whole->mean, 1e-6);
  EXPECT_FALSE(
      EvaluateWindows(lm_, ids_,
                      {.trunk_WSD = trunk.narrow(0, 0, 3), .first_layer = 2})
          .ok());
}

TEST_F(EvaluationTest, WindowsOfUnequalLengthCountEveryToken) {
  const std::vector<std::vector<int32_t>> windows = {
      {5, 6, 7, 8}, {9, 10, 11, 12}, {13, 14}, {15, 16, 17, 18, 19}};
  const auto loss = EvaluateWindows(lm_, windows);
  ASSERT_TRUE(loss.ok()) << loss.status();
  EXPECT_EQ(loss->tokens, 3 + 3 + 1 + 4);
  double sum = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    sum += loss->window_means[w] * static_cast<double>(windows[w].size() - 1);
  }
  EXPECT_NEAR(loss->mean, sum / 11, 1e-9);
  const std::vector<std::vector<int32_t>> single = {{5}};
  EXPECT_EQ(EvaluateWindows(lm_, single).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(EvaluationTest, CancellationEndsEvaluationAndGeneration) {
  CancellationToken token;
  token.Cancel();
  EXPECT_EQ(
      EvaluateWindows(lm_, ids_, {.cancellation = &token}).status().code(),
      absl::StatusCode::kCancelled);
  EXPECT_EQ(Generate(lm_, {5, 6}, {.cancellation = &token}).status().code(),
            absl::StatusCode::kCancelled);
}

TEST_F(EvaluationTest, GreedyGenerationTakesTheLikeliestOfTheWholeSequence) {
  model::CausalLm lm = lm_;
  lm.config.eos_token_ids.clear();
  std::vector<int32_t> seen = {5, 60, 700};
  std::vector<int32_t> streamed;
  const auto generated =
      Generate(lm, seen, {.max_tokens = 9, .on_token = [&](int32_t id) {
                            streamed.push_back(id);
                          }});
  ASSERT_TRUE(generated.ok()) << generated.status();
  EXPECT_EQ(generated->ids, streamed);
  EXPECT_EQ(generated->end, Generated::End::kLength);
  for (const int32_t id : generated->ids) {
    const Tensor input =
        at::tensor(
            at::IntArrayRef(std::vector<int64_t>(seen.begin(), seen.end())),
            at::kLong)
            .view({1, -1});
    const Tensor last =
        LogitsOf(input).select(1, static_cast<int64_t>(seen.size()) - 1);
    // The likeliest, or as likely up to rounding.
    EXPECT_NEAR(last[0][id].item<double>(), last.max().item<double>(), 1e-4);
    seen.push_back(id);
  }
  // An end-of-text id ends it and is not part of it.
  lm.config.eos_token_ids = {generated->ids[4]};
  const auto ended = Generate(lm, {5, 60, 700}, {.max_tokens = 9});
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->end, Generated::End::kEndOfText);
  EXPECT_LE(ended->ids.size(), 4u);
}

TEST_F(EvaluationTest, SamplingFollowsItsSeed) {
  const GenerateOptions options = {
      .max_tokens = 20, .temperature = 1.5, .seed = 4};
  const auto first = Generate(lm_, {9}, options);
  const auto again = Generate(lm_, {9}, options);
  GenerateOptions other = options;
  other.seed = 5;
  const auto different = Generate(lm_, {9}, other);
  ASSERT_TRUE(first.ok() && again.ok() && different.ok());
  EXPECT_EQ(first->ids, again->ids);
  EXPECT_NE(first->ids, different->ids);
}

TEST_F(EvaluationTest, GenerationRefusesWhatItCannotDo) {
  EXPECT_FALSE(Generate(lm_, {}).ok());
  EXPECT_FALSE(Generate(lm_, {5000}).ok());
  EXPECT_FALSE(Generate(lm_, {5}, {.max_tokens = 512}).ok());
  EXPECT_FALSE(Generate(lm_, {5}, {.temperature = -1}).ok());
}

TEST_F(EvaluationTest, LogitsFileHoldsTheLogits) {
  const fs::path path = directory_->path() / "logits.safetensors";
  ASSERT_TRUE(WriteLogits(lm_, ids_, path).ok());
  const auto file = safetensors::File::Open(path);
  ASSERT_TRUE(file.ok());
  const auto logits = model::ReadTensor(**file, "logits");
  ASSERT_TRUE(logits.ok());
  EXPECT_TRUE(at::allclose(*logits, LogitsOf(ids_), 1e-5, 1e-5));
}

TEST_F(EvaluationTest, DocumentsComeFromJsonLinesTextAndFolders) {
  Write("d/b.txt", "one\ntwo\n\n \nthree");
  Write("d/a.jsonl",
        "{\"text\": \"first\"}\n\n{\"id\": 4, \"text\": \"2nd\"}\n"
        "{\"text\": \"  \"}\n");
  Write("d/note.md", "left out");
  const auto documents = ReadDocuments({directory_->path() / "d"});
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents, ElementsAre("first", "2nd", "one\ntwo\n\n \nthree"));
  EXPECT_EQ(ReadDocuments({directory_->path() / "none.txt"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(
      ReadDocuments({Write("bad.jsonl", "{\"text\": \"a\"}\n{\"txt\": 1}")})
          .status()
          .ToString(),
      HasSubstr("bad.jsonl: line 2"));
  EXPECT_THAT(ReadDocuments({Write("bad.txt", "a\xff")}).status().ToString(),
              HasSubstr("line 1, byte 1 (0xff)"));
  EXPECT_FALSE(ReadDocuments({Write("x.csv", "a")}).ok());
}

TEST_F(EvaluationTest, WindowsSpreadOverDocumentsFirst) {
  const auto tokenizer =
      tokenizer::Tokenizer::Load(model::TinyAnchor() / "tokenizer.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string a = "select a from the table where b is null or c is one";
  const std::string b = "x";
  const std::string c = "the index of a table is used when the planner likes";
  const auto ids = [&](const std::string& text, size_t begin, size_t count) {
    const auto all = (*tokenizer)->Encode(text);
    EXPECT_GE(all->size(), begin + count);
    return std::vector<int32_t>(all->begin() + begin,
                                all->begin() + begin + count);
  };
  const auto windows = CutWindows(**tokenizer, {a, b, c},
                                  {.window_tokens = 4, .max_windows = 3});
  ASSERT_TRUE(windows.ok()) << windows.status();
  EXPECT_THAT(*windows, ElementsAre(ids(a, 0, 4), ids(c, 0, 4), ids(a, 4, 4)));
  const Tensor tensor = ToTensor(*windows, 4);
  EXPECT_EQ(tensor[2][0].item<int32_t>(), ids(a, 4, 4)[0]);

  // With rests, every token of a document of 2 or more is in some window.
  const auto all =
      CutWindows(**tokenizer, {a},
                 {.window_tokens = 4, .rest = WindowOptions::Rest::kKeep});
  size_t count = 0;
  for (const auto& window : *all) {
    count += window.size();
  }
  EXPECT_GE(count + 1, (*tokenizer)->Encode(a)->size());
  EXPECT_FALSE(CutWindows(**tokenizer, {a}, {.window_tokens = 1}).ok());
}

}  // namespace
}  // namespace tributary::evaluation
