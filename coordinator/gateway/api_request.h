#pragma once

#include <string>
#include <variant>
#include <vector>

#include "coordinator/gateway/api_error.h"
#include "tributary/job/inference.pb.h"

namespace tributary::coordinator {

struct ApiLimits {
  int64_t max_tokens = 2048;  // to make, for each choice
  int64_t max_prompts = 128;  // of one request
  int64_t max_choices = 16;   // of one prompt
  int64_t max_logprobs = 20;
  int64_t max_messages = 512;
  int64_t max_stops = 64;
};

enum class ApiKind { kCompletion, kChat };

// A request of OpenAI's API, as one question to the worker for each prompt.
struct ApiRequest {
  ApiKind kind = ApiKind::kCompletion;
  std::string model;  // as asked for; empty: whichever there is
  std::vector<job::Completion> prompts;
  int64_t choices = 1;  // of each prompt
  bool stream = false;
  bool stream_usage = false;
  bool logprobs = false;
  int64_t top_logprobs = 0;
};

// Reads the body of /v1/completions or /v1/chat/completions. What is not
// supported is refused by name, as is what does not exist.
std::variant<ApiRequest, ApiError> ParseApiRequest(ApiKind kind,
                                                   const std::string& body,
                                                   const ApiLimits& limits);

}  // namespace tributary::coordinator
