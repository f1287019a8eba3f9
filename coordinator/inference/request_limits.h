#pragma once

#include "coordinator/inference/completion.h"

namespace tributary::coordinator {

struct RequestLimits {
  int64_t vocab_size = 0;
  int64_t context = 0;  // positions of one choice with its prompt
  int64_t max_choices = 0;
  int64_t cache_tokens = 0;  // positions of all choices with their prompts
};

// Checks a request and returns how many tokens are to be made. INVALID_ARGUMENT
// names the field.
StatusOr<int64_t> TokensToMake(const CompletionRequest& request,
                               const RequestLimits& limits);

}  // namespace tributary::coordinator
