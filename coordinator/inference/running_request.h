#pragma once

#include <memory>
#include <vector>

#include "common/model/causal_lm.h"
#include "coordinator/inference/answer_text.h"
#include "coordinator/inference/completion.h"
#include "coordinator/inference/sampler.h"

namespace tributary::coordinator {

// A request on its way through the engine.
struct RunningRequest {
  // One continuation of the prompt.
  struct Choice {
    int index = 0;
    AnswerText text;
    Sampler sampler;
    std::unique_ptr<model::KvCache> cache;
    int32_t last = 0;  // the newest token, not yet in the cache
    int64_t made = 0;
    bool done = false;
  };

  RunningRequest(uint64_t id, CompletionRequest request, int64_t max_tokens);

  int64_t prompt_size() const {
    return static_cast<int64_t>(request.prompt.size());
  }
  // Whether the prompt's keys and values are needed later on.
  bool cached() const { return max_tokens > 1; }
  // Positions that its caches take.
  int64_t reserved() const {
    return cached() ? (prompt_size() + max_tokens) * request.choices : 0;
  }
  int64_t sequences() const { return cached() ? request.choices : 0; }
  bool prompt_done() const { return prefilled == prompt_size(); }
  // Whether the prompt's own tokens are scored.
  bool scores_prompt() const {
    return request.echo && request.logprobs.has_value();
  }
  bool finished() const;

  const uint64_t id;
  const CompletionRequest request;
  const int64_t max_tokens;
  int64_t prefilled = 0;  // positions of the prompt that were computed
  std::vector<Choice> choices;
  Usage usage;
};

}  // namespace tributary::coordinator
