#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"

namespace tributary::evaluation {

struct GenerateOptions {
  int64_t max_tokens = 64;
  // 0 takes the likeliest token; otherwise logits are divided by it.
  double temperature = 0;
  uint64_t seed = 0;
  // Called with every token as it is made.
  std::function<void(int32_t)> on_token;
  const CancellationToken* cancellation = nullptr;
};

struct Generated {
  std::vector<int32_t> ids;  // without the prompt and the end token
  enum class End { kEndOfText, kLength } end = End::kLength;
  double tokens_per_second = 0;  // without the prompt's pass
};

// Continues a prompt token by token with cached keys and values; the same
// seed gives the same tokens on one machine. Ends at one of the config's
// end-of-text ids. INVALID_ARGUMENT for an empty prompt, ids outside the
// vocabulary, a negative temperature, or more positions than the model has.
StatusOr<Generated> Generate(const model::CausalLm& lm,
                             const std::vector<int32_t>& prompt,
                             const GenerateOptions& options = {});

}  // namespace tributary::evaluation
