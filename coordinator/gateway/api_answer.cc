#include "coordinator/gateway/api_answer.h"

#include <nlohmann/json.hpp>

#include "common/base/text.h"

namespace tributary::coordinator {
namespace {

// A token as a JSON string: its text, or, where that is no UTF-8, the bytes
// spelt out so that no two tokens look the same.
std::string Spelt(const std::string& bytes) {
  if (!FirstInvalidUtf8(bytes)) {
    return bytes;
  }
  std::string text = "bytes:";
  for (const char byte : bytes) {
    text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  }
  return text;
}

double Value(float logprob) { return static_cast<double>(logprob); }

// The legacy form: parallel lists.
Json CompletionLogprobs(const std::vector<job::TokenScore>& tokens,
                        int64_t top) {
  Json out = {{"tokens", Json::array()},
              {"token_logprobs", Json::array()},
              {"top_logprobs", Json::array()},
              {"text_offset", Json::array()}};
  for (const job::TokenScore& token : tokens) {
    out["tokens"].push_back(Spelt(token.text()));
    out["text_offset"].push_back(token.text_offset());
    if (!token.has_logprob()) {
      out["token_logprobs"].push_back(nullptr);
      out["top_logprobs"].push_back(nullptr);
      continue;
    }
    out["token_logprobs"].push_back(Value(token.logprob()));
    Json ranked = Json::object();
    for (const job::RankedToken& other : token.top()) {
      // Likeliest first: where two are spelt alike, the likelier stays.
      ranked.emplace(Spelt(other.text()), Value(other.logprob()));
    }
    out["top_logprobs"].push_back(top > 0 ? ranked : Json(nullptr));
  }
  return out;
}

Json ChatToken(const std::string& text, float logprob) {
  Json bytes = Json::array();
  for (const char byte : text) {
    bytes.push_back(static_cast<unsigned char>(byte));
  }
  return {{"token", Spelt(text)},
          {"logprob", Value(logprob)},
          {"bytes", std::move(bytes)}};
}

Json ChatLogprobs(const std::vector<job::TokenScore>& tokens, int64_t top) {
  Json content = Json::array();
  for (const job::TokenScore& token : tokens) {
    Json entry = ChatToken(token.text(), token.logprob());
    entry["top_logprobs"] = Json::array();
    for (int i = 0; i < token.top_size() && i < top; ++i) {
      entry["top_logprobs"].push_back(
          ChatToken(token.top(i).text(), token.top(i).logprob()));
    }
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

Json LogprobsOf(const ApiRequest& request, const ApiChoice& choice) {
  if (!request.logprobs) {
    return nullptr;
  }
  return request.kind == ApiKind::kChat
             ? ChatLogprobs(choice.tokens, request.top_logprobs)
             : CompletionLogprobs(choice.tokens, request.top_logprobs);
}

Json ReasonOf(const ApiChoice& choice) {
  return choice.finish_reason.empty() ? Json(nullptr)
                                      : Json(choice.finish_reason);
}

Json Frame(const ApiRequest& request, const AnswerHead& head, bool part) {
  const char* object =
      request.kind == ApiKind::kCompletion
          ? "text_completion"
          : (part ? "chat.completion.chunk" : "chat.completion");
  return {{"id", head.id},
          {"object", object},
          {"created", head.created_s},
          {"model", head.model},
          {"choices", Json::array()}};
}

Json UsageJson(const TokenUsage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

}  // namespace

Json WholeAnswer(const ApiRequest& request, const AnswerHead& head,
                 const std::vector<ApiChoice>& choices,
                 const TokenUsage& usage) {
  Json answer = Frame(request, head, /*part=*/false);
  for (size_t i = 0; i < choices.size(); ++i) {
    Json choice = {{"index", i},
                   {"logprobs", LogprobsOf(request, choices[i])},
                   {"finish_reason", ReasonOf(choices[i])}};
    if (request.kind == ApiKind::kChat) {
      choice["message"] = {{"role", "assistant"}, {"content", choices[i].text}};
    } else {
      choice["text"] = choices[i].text;
    }
    answer["choices"].push_back(std::move(choice));
  }
  answer["usage"] = UsageJson(usage);
  return answer;
}

Json AnswerPart(const ApiRequest& request, const AnswerHead& head, size_t index,
                const ApiChoice& more, bool first) {
  Json answer = Frame(request, head, /*part=*/true);
  Json choice = {{"index", index},
                 {"logprobs", more.tokens.empty() ? Json(nullptr)
                                                  : LogprobsOf(request, more)},
                 {"finish_reason", ReasonOf(more)}};
  if (request.kind == ApiKind::kChat) {
    Json delta = Json::object();
    if (first) {
      delta["role"] = "assistant";
    }
    if (!more.text.empty() || first) {
      delta["content"] = more.text;
    }
    choice["delta"] = std::move(delta);
  } else {
    choice["text"] = more.text;
  }
  answer["choices"].push_back(std::move(choice));
  return answer;
}

Json UsagePart(const ApiRequest& request, const AnswerHead& head,
               const TokenUsage& usage) {
  Json answer = Frame(request, head, /*part=*/true);
  answer["usage"] = UsageJson(usage);
  return answer;
}

}  // namespace tributary::coordinator
