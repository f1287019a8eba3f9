#pragma once

// What a serving engine is asked and what it answers: plain structs.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

// How to continue or score a prompt.
struct CompletionRequest {
  std::vector<int32_t> prompt;  // at least one token
  // Tokens to make; nothing: as many as fit.
  std::optional<int64_t> max_tokens;
  // Fewer than max_tokens where so many do not fit.
  bool shorten = false;
  double temperature = 0;  // 0 takes the likeliest token
  double top_p = 1;        // above 0, at most 1
  uint64_t seed = 0;
  int choices = 1;
  std::vector<std::string> stop;
  bool echo = false;  // the prompt is part of the answer
  // Log-probabilities of the answer's tokens and of so many likeliest ones.
  std::optional<int> logprobs;
};

// One of the likeliest tokens in a place.
struct RankedToken {
  int32_t id = 0;
  std::string text;  // bytes, not necessarily whole characters
  float logprob = 0;
};

// A token of an answer.
struct TokenScore {
  int32_t id = 0;
  std::string text;
  // Natural logarithm; nothing for the first token of a prompt.
  std::optional<float> logprob;
  // Likeliest first; the token itself follows when it is not among them.
  std::vector<RankedToken> top;
  // Where it begins in the choice's text, in characters.
  int64_t text_offset = 0;
};

// More of a choice: whole characters, and the tokens that begin in them where
// log-probabilities were asked for.
struct AnswerPiece {
  std::string text;
  std::vector<TokenScore> tokens;

  bool empty() const { return text.empty() && tokens.empty(); }
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

// Gets the answers of an engine, on the thread that runs it. After OnEnd or
// OnError nothing more comes for that request.
class AnswerListener {
 public:
  virtual ~AnswerListener() = default;
  virtual void OnPiece(uint64_t request, int choice, AnswerPiece piece) = 0;
  // `reason` is "stop" or "length".
  virtual void OnChoiceEnd(uint64_t request, int choice,
                           const std::string& reason) = 0;
  virtual void OnEnd(uint64_t request, const Usage& usage) = 0;
  virtual void OnError(uint64_t request, const Status& status) = 0;
};

}  // namespace tributary::coordinator
