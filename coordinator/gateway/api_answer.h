#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/gateway/api_request.h"

namespace tributary::coordinator {

// What every part of an answer carries.
struct AnswerHead {
  std::string id;
  int64_t created_s = 0;
  std::string model;
};

struct TokenUsage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

// One choice of an answer.
struct ApiChoice {
  std::string text;
  std::vector<job::TokenScore> tokens;
  std::string finish_reason;  // empty: not yet
};

// A whole answer.
Json WholeAnswer(const ApiRequest& request, const AnswerHead& head,
                 const std::vector<ApiChoice>& choices,
                 const TokenUsage& usage);

// A part of a streamed one: more of a choice. The first part of a choice of a
// chat names the role.
Json AnswerPart(const ApiRequest& request, const AnswerHead& head, size_t index,
                const ApiChoice& more, bool first);

// The part of a streamed answer that has the usage only.
Json UsagePart(const ApiRequest& request, const AnswerHead& head,
               const TokenUsage& usage);

}  // namespace tributary::coordinator
