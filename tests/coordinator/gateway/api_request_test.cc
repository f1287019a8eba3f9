#include "coordinator/gateway/api_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::variant<ApiRequest, ApiError> Parse(const std::string& body,
                                         ApiKind kind = ApiKind::kCompletion) {
  return ParseApiRequest(kind, body, {});
}

ApiRequest Good(const std::string& body, ApiKind kind = ApiKind::kCompletion) {
  auto parsed = Parse(body, kind);
  if (const auto* error = std::get_if<ApiError>(&parsed)) {
    ADD_FAILURE() << error->message;
    return {};
  }
  return std::get<ApiRequest>(parsed);
}

ApiError Bad(const std::string& body, ApiKind kind = ApiKind::kCompletion) {
  auto parsed = Parse(body, kind);
  if (const auto* error = std::get_if<ApiError>(&parsed)) {
    return *error;
  }
  ADD_FAILURE() << "accepted: " << body;
  return {};
}

TEST(ApiRequestTest, AbsentFieldsHaveTheApisDefaults) {
  const ApiRequest request = Good(R"({"model": "m", "prompt": "a"})");
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.choices, 1);
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.logprobs);
  ASSERT_EQ(request.prompts.size(), 1);
  const job::Completion& prompt = request.prompts[0];
  EXPECT_EQ(prompt.text(), "a");
  EXPECT_EQ(prompt.max_tokens(), 16);
  EXPECT_EQ(prompt.temperature(), 1);
  EXPECT_EQ(prompt.top_p(), 1);
  EXPECT_FALSE(prompt.echo());
  EXPECT_FALSE(prompt.has_logprobs());
}

TEST(ApiRequestTest, WhatAnEvaluationAsksForScores) {
  const ApiRequest request = Good(
      R"({"model": "m", "prompt": [[1, 2, 3], [4]], "max_tokens": 1,
          "temperature": 0, "logprobs": 1, "echo": true, "seed": 1234})");
  ASSERT_EQ(request.prompts.size(), 2);
  EXPECT_THAT(request.prompts[0].token_ids().ids(), ElementsAre(1, 2, 3));
  EXPECT_THAT(request.prompts[1].token_ids().ids(), ElementsAre(4));
  for (const job::Completion& prompt : request.prompts) {
    EXPECT_EQ(prompt.max_tokens(), 1);
    EXPECT_EQ(prompt.logprobs(), 1);
    EXPECT_TRUE(prompt.echo());
    EXPECT_EQ(prompt.seed(), 1234);
  }
}

TEST(ApiRequestTest, PromptsOfEveryForm) {
  EXPECT_EQ(Good(R"({"prompt": ["a", "b"]})").prompts.size(), 2);
  EXPECT_THAT(Good(R"({"prompt": [7, 8]})").prompts[0].token_ids().ids(),
              ElementsAre(7, 8));
  EXPECT_EQ(Good(R"({"prompt": "a", "stop": "x"})").prompts[0].stop(0), "x");
  EXPECT_THAT(Good(R"({"prompt": "a", "stop": ["x", "y"]})").prompts[0].stop(),
              ElementsAre("x", "y"));
  EXPECT_NE(Good(R"({"prompt": "a"})").prompts[0].seed(),
            Good(R"({"prompt": "a"})").prompts[0].seed());
}

TEST(ApiRequestTest, Chats) {
  const ApiRequest request = Good(
      R"({"messages": [{"role": "developer", "content": "be brief"},
                       {"role": "user", "content": [
                          {"type": "text", "text": "a"},
                          {"type": "text", "text": "b"}]}],
          "logprobs": true, "top_logprobs": 3, "stream": true,
          "stream_options": {"include_usage": true}})",
      ApiKind::kChat);
  ASSERT_EQ(request.prompts.size(), 1);
  const auto& messages = request.prompts[0].conversation().messages();
  ASSERT_EQ(messages.size(), 2);
  EXPECT_EQ(messages[0].role(), "system");
  EXPECT_EQ(messages[1].content(), "ab");
  // Nothing said about the length: as much as fits.
  EXPECT_TRUE(request.prompts[0].shorten());
  EXPECT_EQ(request.prompts[0].logprobs(), 3);
  EXPECT_TRUE(request.stream_usage);
}

TEST(ApiRequestTest, FaultsNameTheirField) {
  for (const auto& [body, param] :
       std::vector<std::pair<std::string, std::string>>{
           {R"({})", "prompt"},
           {R"({"prompt": []})", "prompt"},
           {R"({"prompt": [[]]})", "prompt"},
           {R"({"prompt": [-1]})", "prompt"},
           {R"({"prompt": [1.5]})", "prompt"},
           {R"({"prompt": [3000000000]})", "prompt"},
           {R"({"prompt": [["a"]]})", "prompt"},
           {R"({"prompt": ["a", 1]})", "prompt"},
           {R"({"prompt": "a", "max_tokens": -1})", "max_tokens"},
           {R"({"prompt": "a", "max_tokens": 1e9})", "max_tokens"},
           {R"({"prompt": "a", "max_tokens": 18446744073709551615})",
            "max_tokens"},
           {R"({"prompt": "a", "temperature": 3})", "temperature"},
           {R"({"prompt": "a", "temperature": "hot"})", "temperature"},
           {R"({"prompt": "a", "top_p": 1.1})", "top_p"},
           {R"({"prompt": "a", "n": 0})", "n"},
           {R"({"prompt": "a", "stop": [""]})", "stop"},
           {R"({"prompt": "a", "stop": [1]})", "stop"},
           {R"({"prompt": "a", "logprobs": 21})", "logprobs"},
           {R"({"prompt": "a", "echo": 1})", "echo"},
           {R"({"prompt": "a", "best_of": 3})", "best_of"},
           {R"({"prompt": "a", "suffix": "b"})", "suffix"},
           {R"({"prompt": "a", "presence_penalty": 0.5})", "presence_penalty"},
           {R"({"prompt": "a", "logit_bias": {"5": 1}})", "logit_bias"},
           {R"({"prompt": "a", "surprise": 1})", "surprise"},
           {R"({"prompt": "a", "stream_options": {"x": 1}})",
            "stream_options"}}) {
    EXPECT_EQ(Bad(body).param, param) << body;
    EXPECT_EQ(Bad(body).status, 400);
  }
  for (const auto& [body, param] :
       std::vector<std::pair<std::string, std::string>>{
           {R"({"messages": []})", "messages"},
           {R"({"messages": ["a"]})", "messages[0]"},
           {R"({"messages": [{"role": "tool", "content": "a"}]})",
            "messages[0]"},
           {R"({"messages": [{"role": "user", "content": [{"type":
                "image_url"}]}]})",
            "messages[0]"},
           {R"({"messages": [{"role": "user", "content": "a"}],
                "tools": [{}]})",
            "tools"},
           {R"({"messages": [{"role": "user", "content": "a"}],
                "top_logprobs": 1})",
            "top_logprobs"},
           {R"({"messages": [{"role": "user", "content": "a"}],
                "response_format": {"type": "json_object"}})",
            "response_format"}}) {
    EXPECT_EQ(Bad(body, ApiKind::kChat).param, param) << body;
  }
}

TEST(ApiRequestTest, WhatIsNoJsonIsAnError) {
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("1"),
        std::string(R"({"prompt": "a", "prompt": "b"})"), std::string(100, '['),
        std::string("{\"prompt\": \"\xff\"}")}) {
    EXPECT_EQ(Bad(body).status, 400) << body;
  }
}

TEST(ApiRequestTest, FieldsThatAreOffAreAccepted) {
  Good(R"({"prompt": "a", "best_of": 1, "suffix": null, "user": "me",
           "presence_penalty": 0, "logit_bias": {}, "max_tokens": null,
           "metadata": {"a": "b"}})");
  Good(R"({"messages": [{"role": "user", "content": "a", "name": "n"}],
           "tools": [], "tool_choice": "none",
           "response_format": {"type": "text"}})",
       ApiKind::kChat);
}

}  // namespace
}  // namespace tributary::coordinator
