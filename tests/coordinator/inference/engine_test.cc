#include "coordinator/inference/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>

#include "common/evaluation/generate.h"
#include "common/model/load.h"
#include "tests/common/model/test_models.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What was said about one request.
struct Said {
  struct Choice {
    std::string text;
    std::vector<TokenScore> tokens;
    std::string reason;
  };
  std::map<int, Choice> choices;
  Usage usage;
  bool ended = false;
  Status error;
};

class Recorder : public AnswerListener {
 public:
  void OnPiece(uint64_t request, int choice, AnswerPiece piece) override {
    Said::Choice& said = requests[request].choices[choice];
    EXPECT_TRUE(said.reason.empty());
    said.text += piece.text;
    for (TokenScore& token : piece.tokens) {
      said.tokens.push_back(std::move(token));
    }
  }
  void OnChoiceEnd(uint64_t request, int choice,
                   const std::string& reason) override {
    requests[request].choices[choice].reason = reason;
  }
  void OnEnd(uint64_t request, const Usage& usage) override {
    EXPECT_FALSE(requests[request].ended);
    requests[request].ended = true;
    requests[request].usage = usage;
    order.push_back(request);
  }
  void OnError(uint64_t request, const Status& status) override {
    requests[request].error = status;
  }

  std::map<uint64_t, Said> requests;
  std::vector<uint64_t> order;
};

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = model::LoadModel(model::TinyAnchor());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    lm_ = *std::move(loaded);
    ASSERT_TRUE(
        model::AttachExpert(
            lm_, model::RandomExpert(lm_.config, {0, 96, 384, 64}, "e", 5))
            .ok());
    auto tokenizer =
        tokenizer::Tokenizer::Load(model::TinyAnchor() / "tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  std::unique_ptr<Engine> MakeEngine(const EngineOptions& options = {}) {
    auto engine = Engine::Create(lm_, *tokenizer_, options, recorder_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  static void RunAll(Engine& engine) {
    for (int steps = 0; engine.busy() && steps < 10000; ++steps) {
      engine.Step();
    }
    EXPECT_FALSE(engine.busy());
  }
  std::vector<int32_t> Prompt(int64_t tokens, int seed) const {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < tokens; ++i) {
      ids.push_back(static_cast<int32_t>(10 + (i * 37 + seed * 101) % 2000));
    }
    return ids;
  }
  // The likeliest continuation by the plain generator.
  std::string Reference(const std::vector<int32_t>& prompt,
                        int64_t tokens) const {
    const auto made = evaluation::Generate(lm_, prompt, {.max_tokens = tokens});
    EXPECT_TRUE(made.ok()) << made.status();
    std::vector<int32_t> ids = made->ids;
    return *tokenizer_->Decode(
        ids, {.special = tokenizer::DecodeOptions::Special::kSkip});
  }

  model::CausalLm lm_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  Recorder recorder_;
};

TEST_F(EngineTest, RequestsTogetherGetWhatTheyGetAlone) {
  const auto engine = MakeEngine({.max_sequences = 4, .step_tokens = 32});
  std::map<uint64_t, std::vector<int32_t>> prompts;
  for (uint64_t id = 1; id <= 9; ++id) {
    prompts[id] = Prompt(static_cast<int64_t>(7 * id), static_cast<int>(id));
    engine->Add(id, {.prompt = prompts[id],
                     .max_tokens = static_cast<int64_t>(5 + 3 * (id % 4))});
  }
  RunAll(*engine);
  for (const auto& [id, prompt] : prompts) {
    const Said& said = recorder_.requests.at(id);
    EXPECT_TRUE(said.error.ok()) << said.error;
    EXPECT_TRUE(said.ended);
    EXPECT_EQ(said.choices.at(0).text,
              Reference(prompt, static_cast<int64_t>(5 + 3 * (id % 4))));
    EXPECT_EQ(said.usage.prompt_tokens, static_cast<int64_t>(prompt.size()));
  }
  EXPECT_EQ(engine->counts().requests, 9);
  EXPECT_EQ(engine->counts().cache_tokens, 0);
}

TEST_F(EngineTest, ScoresAreTheModelsOwn) {
  const auto engine = MakeEngine({.step_tokens = 40});
  const std::vector<int32_t> prompt = Prompt(30, 3);
  // One is continued by a token and needs no cache, one by more; a third of
  // another length is scored in the same passes.
  engine->Add(1,
              {.prompt = prompt, .max_tokens = 1, .echo = true, .logprobs = 2});
  engine->Add(2,
              {.prompt = prompt, .max_tokens = 3, .echo = true, .logprobs = 0});
  engine->Add(
      3,
      {.prompt = Prompt(70, 4), .max_tokens = 0, .echo = true, .logprobs = 1});
  RunAll(*engine);
  at::NoGradGuard no_gradients;
  const at::Tensor ids =
      at::tensor(
          at::IntArrayRef(std::vector<int64_t>(prompt.begin(), prompt.end())),
          at::kLong)
          .unsqueeze(0);
  const at::Tensor expected =
      at::log_softmax(model::Logits(lm_, model::HiddenStates(lm_, ids)), -1)[0];
  for (const uint64_t id : {1u, 2u}) {
    const auto& tokens = recorder_.requests.at(id).choices.at(0).tokens;
    ASSERT_GE(tokens.size(), prompt.size() + 1);
    EXPECT_FALSE(tokens[0].logprob.has_value());
    for (size_t i = 1; i < prompt.size(); ++i) {
      EXPECT_EQ(tokens[i].id, prompt[i]);
      EXPECT_NEAR(
          *tokens[i].logprob,
          expected[static_cast<int64_t>(i) - 1][prompt[i]].item<float>(), 2e-5);
    }
  }
  const auto& first = recorder_.requests.at(1).choices.at(0);
  EXPECT_EQ(first.tokens.size(), prompt.size() + 1);
  EXPECT_EQ(first.reason, "length");
  const TokenScore& made = first.tokens.back();
  // The likeliest was made, and has the same value in both places.
  ASSERT_EQ(made.top.size(), 2);
  EXPECT_EQ(made.top[0].id, made.id);
  EXPECT_EQ(made.top[0].logprob, *made.logprob);
  EXPECT_EQ(recorder_.requests.at(3).choices.at(0).tokens.size(), 70);
  EXPECT_EQ(recorder_.requests.at(3).usage.completion_tokens, 0);
  // A token that is not among the likeliest follows them.
  const TokenScore& scored = first.tokens[5];
  EXPECT_EQ(
      scored.top.size(),
      scored.top[0].id == scored.id || scored.top[1].id == scored.id ? 2 : 3);
}

TEST_F(EngineTest, ALongPromptIsReadInPieces) {
  const auto engine = MakeEngine({.step_tokens = 24});
  const std::vector<int32_t> prompt = Prompt(200, 2);
  engine->Add(1, {.prompt = prompt, .max_tokens = 6});
  engine->Add(2, {.prompt = prompt, .max_tokens = 1, .echo = true});
  RunAll(*engine);
  EXPECT_EQ(recorder_.requests.at(1).choices.at(0).text, Reference(prompt, 6));
  EXPECT_THAT(recorder_.requests.at(2).choices.at(0).text,
              HasSubstr(Reference(prompt, 1)));
  EXPECT_GT(engine->counts().steps, 200 / 24);
}

TEST_F(EngineTest, ChoicesDifferAndASeedRepeatsThem) {
  const auto engine = MakeEngine();
  const CompletionRequest request = {.prompt = Prompt(12, 1),
                                     .max_tokens = 12,
                                     .temperature = 1.0,
                                     .seed = 9,
                                     .choices = 3};
  engine->Add(1, request);
  engine->Add(2, request);
  RunAll(*engine);
  const auto& one = recorder_.requests.at(1).choices;
  const auto& two = recorder_.requests.at(2).choices;
  ASSERT_EQ(one.size(), 3);
  EXPECT_NE(one.at(0).text, one.at(1).text);
  EXPECT_NE(one.at(1).text, one.at(2).text);
  for (int c = 0; c < 3; ++c) {
    EXPECT_EQ(one.at(c).text, two.at(c).text);
  }
  EXPECT_EQ(recorder_.requests.at(1).usage.completion_tokens, 36);
}

TEST_F(EngineTest, StopTextsEndAChoice) {
  const auto engine = MakeEngine();
  const std::vector<int32_t> prompt = Prompt(20, 6);
  const std::string whole = Reference(prompt, 20);
  ASSERT_GT(whole.size(), 12u);
  const std::string stop = whole.substr(8, 3);
  engine->Add(1, {.prompt = prompt, .max_tokens = 20, .stop = {stop}});
  RunAll(*engine);
  const auto& choice = recorder_.requests.at(1).choices.at(0);
  EXPECT_EQ(choice.text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(choice.reason, "stop");
  EXPECT_LT(recorder_.requests.at(1).usage.completion_tokens, 20);
}

TEST_F(EngineTest, RequestsWaitForRoomInOrder) {
  const auto engine =
      MakeEngine({.max_sequences = 2, .cache_tokens = 64, .step_tokens = 64});
  for (uint64_t id = 1; id <= 5; ++id) {
    engine->Add(id,
                {.prompt = Prompt(20, static_cast<int>(id)), .max_tokens = 10});
  }
  engine->Add(6, {.prompt = Prompt(20, 6), .max_tokens = 1});
  engine->Step();
  EXPECT_EQ(engine->counts().running_sequences, 2);
  EXPECT_EQ(engine->counts().cache_tokens, 60);
  RunAll(*engine);
  // The one that needs no cache has overtaken the others.
  EXPECT_THAT(recorder_.order, ElementsAre(6, 1, 2, 3, 4, 5));
}

TEST_F(EngineTest, ACancelledRequestSaysNothingMore) {
  const auto engine = MakeEngine({.max_sequences = 1});
  engine->Add(1, {.prompt = Prompt(10, 1), .max_tokens = 50});
  engine->Add(2, {.prompt = Prompt(10, 2), .max_tokens = 3});
  engine->Step();
  engine->Step();
  engine->Cancel(1);
  const size_t said = recorder_.requests[1].choices[0].text.size();
  RunAll(*engine);
  EXPECT_EQ(recorder_.requests[1].choices[0].text.size(), said);
  EXPECT_FALSE(recorder_.requests[1].ended);
  EXPECT_TRUE(recorder_.requests[2].ended);
}

TEST_F(EngineTest, WrongRequestsAreRefusedByName) {
  const auto engine = MakeEngine({.cache_tokens = 128});
  const std::vector<std::pair<CompletionRequest, std::string>> wrong = {
      {{}, "prompt"},
      {{.prompt = {5, 2048}, .max_tokens = 1}, "2048"},
      {{.prompt = {-1}, .max_tokens = 1}, "-1"},
      {{.prompt = {5}, .max_tokens = 200}, "200"},
      {{.prompt = {5}, .max_tokens = INT64_MAX}, "together"},
      {{.prompt = {5}, .max_tokens = 2, .temperature = -1}, "temperature"},
      {{.prompt = {5}, .max_tokens = 2, .top_p = 0}, "top_p"},
      {{.prompt = {5}, .max_tokens = 2, .choices = 17}, "17"},
      {{.prompt = {5}, .max_tokens = 2, .stop = {""}}, "stop"},
      {{.prompt = {5}, .max_tokens = 2, .logprobs = -1}, "logprobs"},
      {{.prompt = Prompt(600, 1), .max_tokens = 1}, "600"}};
  uint64_t id = 0;
  for (const auto& [request, word] : wrong) {
    engine->Add(++id, request);
    EXPECT_TRUE(absl::IsInvalidArgument(recorder_.requests[id].error));
    EXPECT_THAT(std::string(recorder_.requests[id].error.message()),
                HasSubstr(word));
  }
  EXPECT_FALSE(engine->busy());
  // Asked to make fewer where so many do not fit, it makes what fits.
  engine->Add(100,
              {.prompt = Prompt(120, 1), .max_tokens = 500, .shorten = true});
  RunAll(*engine);
  EXPECT_EQ(recorder_.requests[100].usage.completion_tokens, 8);
}

TEST_F(EngineTest, OptionsWithoutRoomAreRefused) {
  for (const EngineOptions& options :
       {EngineOptions{.max_sequences = 0}, EngineOptions{.cache_tokens = 0},
        EngineOptions{.max_context = -1},
        EngineOptions{.max_sequences = 16, .step_tokens = 16}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        Engine::Create(lm_, *tokenizer_, options, recorder_).status()));
  }
}

}  // namespace
}  // namespace tributary::coordinator
