#include "coordinator/gateway/api_request.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/random.h"
#include "coordinator/gateway/field_reader.h"

namespace tributary::coordinator {
namespace {

constexpr int64_t kDefaultCompletionTokens = 16;
constexpr size_t kMaxBodyBytes = 64u << 20;  // the server's own limit is lower
constexpr double kMaxTemperature = 2;

bool IsTokenList(const Json& value) {
  return value.is_array() && !value.empty() && value[0].is_number();
}

std::optional<job::TokenIds> TokensOf(const Json& list) {
  job::TokenIds tokens;
  for (const Json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
      return std::nullopt;
    }
    tokens.add_ids(id.get<int32_t>());
  }
  return tokens;
}

// One prompt: a text or a list of token ids.
std::optional<job::Completion> PromptOf(const Json& value) {
  job::Completion completion;
  if (value.is_string()) {
    completion.set_text(value.get<std::string>());
    return completion;
  }
  if (!IsTokenList(value)) {
    return std::nullopt;
  }
  std::optional<job::TokenIds> tokens = TokensOf(value);
  if (!tokens) {
    return std::nullopt;
  }
  *completion.mutable_token_ids() = *std::move(tokens);
  return completion;
}

void ReadPrompts(FieldReader& fields, const ApiLimits& limits,
                 ApiRequest& request) {
  const Json* prompt = fields.Any("prompt");
  if (prompt == nullptr) {
    fields.Fault("prompt",
                 "prompt: wanted a string, a list of strings, a list "
                 "of token ids, or a list of such lists");
    return;
  }
  const bool many = prompt->is_array() && !IsTokenList(*prompt);
  const size_t count = many ? prompt->size() : 1;
  if (count == 0 || count > static_cast<size_t>(limits.max_prompts)) {
    fields.Fault("prompt", fmt::format("prompt: got {} prompts, wanted 1 to {}",
                                       count, limits.max_prompts));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    std::optional<job::Completion> one =
        PromptOf(many ? (*prompt)[i] : *prompt);
    if (!one) {
      fields.Fault("prompt", fmt::format("prompt: number {} is neither a "
                                         "string nor a list of token ids",
                                         i));
      return;
    }
    request.prompts.push_back(*std::move(one));
  }
}

// A message's content: a text, or a list of parts that are texts.
std::optional<std::string> ContentOf(const Json& content) {
  if (content.is_string()) {
    return content.get<std::string>();
  }
  if (!content.is_array()) {
    return std::nullopt;
  }
  std::string text;
  for (const Json& part : content) {
    if (!part.is_object() || part.value("type", Json()) != "text" ||
        !part.contains("text") || !part["text"].is_string()) {
      return std::nullopt;
    }
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

void ReadMessages(FieldReader& fields, const ApiLimits& limits,
                  ApiRequest& request) {
  const Json* messages = fields.Any("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty() ||
      messages->size() > static_cast<size_t>(limits.max_messages)) {
    fields.Fault("messages", fmt::format("messages: wanted a list of 1 to {}",
                                         limits.max_messages));
    return;
  }
  job::Completion completion;
  for (size_t i = 0; i < messages->size(); ++i) {
    const Json& message = (*messages)[i];
    const std::string name = fmt::format("messages[{}]", i);
    if (!message.is_object()) {
      fields.Fault(name, name + ": wanted an object with role and content");
      return;
    }
    FieldReader inner(message);
    const auto role = inner.Text("role");
    const Json* content = inner.Any("content");
    inner.Ignore("name");
    inner.RefuseUnlessOff("tool_calls");
    inner.RefuseUnlessOff("function_call");
    const auto text = content == nullptr ? std::nullopt : ContentOf(*content);
    if (const auto fault = inner.Finish()) {
      fields.Fault(name, name + ": " + fault->message, fault->code);
      return;
    }
    if (!text || (role != "system" && role != "user" && role != "assistant" &&
                  role != "developer")) {
      fields.Fault(name, name +
                             ": wanted a role (system, developer, user, "
                             "assistant) and a text as content");
      return;
    }
    auto* out = completion.mutable_conversation()->add_messages();
    out->set_role(role == "developer" ? "system" : *role);
    out->set_content(*text);
  }
  request.prompts.push_back(std::move(completion));
}

std::vector<std::string> ReadStops(FieldReader& fields,
                                   const ApiLimits& limits) {
  std::vector<std::string> stops;
  const Json* stop = fields.Any("stop");
  if (stop == nullptr) {
    return stops;
  }
  const Json list = stop->is_array() ? *stop : Json::array({*stop});
  for (const Json& one : list) {
    if (one.is_string() && !one.get_ref<const std::string&>().empty() &&
        static_cast<int64_t>(stops.size()) < limits.max_stops) {
      stops.push_back(one.get<std::string>());
    } else {
      fields.Fault("stop",
                   fmt::format("stop: wanted at most {} strings, none empty",
                               limits.max_stops));
    }
  }
  return stops;
}

void ReadLogprobs(FieldReader& fields, const ApiLimits& limits,
                  ApiRequest& request) {
  if (request.kind == ApiKind::kCompletion) {
    if (const auto top = fields.Integer("logprobs", 0, limits.max_logprobs)) {
      request.logprobs = true;
      request.top_logprobs = *top;
    }
    return;
  }
  request.logprobs = fields.Flag("logprobs");
  const auto top = fields.Integer("top_logprobs", 0, limits.max_logprobs);
  request.top_logprobs = top.value_or(0);
  if (top && !request.logprobs) {
    fields.Fault("top_logprobs", "top_logprobs needs logprobs to be true");
  }
}

std::optional<int64_t> ReadMaxTokens(FieldReader& fields, ApiKind kind,
                                     const ApiLimits& limits) {
  const bool chat = kind == ApiKind::kChat;
  auto tokens = fields.Integer("max_tokens", chat ? 1 : 0, limits.max_tokens);
  if (chat) {
    const auto newer =
        fields.Integer("max_completion_tokens", 1, limits.max_tokens);
    return newer ? newer : tokens;
  }
  return tokens.value_or(kDefaultCompletionTokens);
}

uint64_t RandomSeed() {
  uint64_t seed = 0;
  const std::string bytes = RandomBytes(sizeof(seed));
  std::memcpy(&seed, bytes.data(), sizeof(seed));
  return seed;
}

// What both kinds of request have.
void ReadCommon(FieldReader& fields, const ApiLimits& limits,
                ApiRequest& request) {
  request.model = fields.Text("model").value_or("");
  request.stream = fields.Flag("stream");
  if (const Json* options = fields.Any("stream_options")) {
    FieldReader inner(*options);
    request.stream_usage = inner.Flag("include_usage");
    if (const auto fault = inner.Finish()) {
      fields.Fault("stream_options", "stream_options: " + fault->message);
    }
  }
  request.choices = fields.Integer("n", 1, limits.max_choices).value_or(1);
  for (const char* name : {"user", "metadata", "store", "service_tier"}) {
    fields.Ignore(name);
  }
  for (const char* name :
       {"presence_penalty", "frequency_penalty", "logit_bias"}) {
    fields.RefuseUnlessOff(name);
  }
}

}  // namespace

std::variant<ApiRequest, ApiError> ParseApiRequest(ApiKind kind,
                                                   const std::string& body,
                                                   const ApiLimits& limits) {
  const StatusOr<Json> json = ParseJson(body, {.max_bytes = kMaxBodyBytes});
  if (!json.ok()) {
    return ApiError{.message = "the body is no valid JSON: " +
                               std::string(json.status().message())};
  }
  FieldReader fields(*json);
  ApiRequest request{.kind = kind};
  ReadCommon(fields, limits, request);
  job::Completion shared;
  shared.set_temperature(
      fields.Number("temperature", 0, kMaxTemperature).value_or(1));
  shared.set_top_p(fields.Number("top_p", 0, 1).value_or(1));
  const auto seed = fields.Integer("seed", INT64_MIN, INT64_MAX);
  shared.set_seed(seed ? static_cast<uint64_t>(*seed) : RandomSeed());
  shared.set_choices(static_cast<int32_t>(request.choices));
  for (std::string& stop : ReadStops(fields, limits)) {
    shared.add_stop(std::move(stop));
  }
  const auto max_tokens = ReadMaxTokens(fields, kind, limits);
  shared.set_max_tokens(max_tokens.value_or(limits.max_tokens));
  shared.set_shorten(!max_tokens.has_value());
  ReadLogprobs(fields, limits, request);
  if (request.logprobs) {
    shared.set_logprobs(static_cast<int32_t>(request.top_logprobs));
  }
  if (kind == ApiKind::kCompletion) {
    shared.set_echo(fields.Flag("echo"));
    fields.RefuseUnlessOff("suffix");
    fields.RefuseUnlessOff("best_of", request.choices);
    ReadPrompts(fields, limits, request);
  } else {
    for (const char* name : {"tools", "tool_choice", "functions",
                             "function_call", "audio", "parallel_tool_calls"}) {
      fields.RefuseUnlessOff(name, name == std::string("tool_choice")
                                       ? Json("none")
                                       : Json(nullptr));
    }
    fields.RefuseUnlessOff("response_format", Json{{"type", "text"}});
    ReadMessages(fields, limits, request);
  }
  if (const auto fault = fields.Finish()) {
    return *fault;
  }
  for (job::Completion& prompt : request.prompts) {
    job::Completion whole = shared;
    whole.MergeFrom(prompt);
    prompt = std::move(whole);
  }
  return request;
}

}  // namespace tributary::coordinator
