#include "coordinator/inference/request_limits.h"

#include <algorithm>
#include <cmath>

namespace tributary::coordinator {
namespace {

constexpr size_t kMaxStopTexts = 64;
constexpr size_t kMaxStopBytes = 4096;

}  // namespace

StatusOr<int64_t> TokensToMake(const CompletionRequest& request,
                               const RequestLimits& limits) {
  if (request.prompt.empty()) {
    return InvalidArgument("prompt: it has no tokens, wanted at least one");
  }
  for (const int32_t id : request.prompt) {
    if (id < 0 || id >= limits.vocab_size) {
      return InvalidArgument("prompt: got token {}, wanted 0 to {}", id,
                             limits.vocab_size - 1);
    }
  }
  const auto length = static_cast<int64_t>(request.prompt.size());
  const int64_t wanted = request.max_tokens.value_or(
      std::max<int64_t>(1, limits.context - length));
  if (wanted < 0 || request.choices < 1 ||
      request.choices > limits.max_choices) {
    return InvalidArgument(
        "got {} tokens to make and {} choices, wanted 0 or more and 1 to {}",
        wanted, request.choices, limits.max_choices);
  }
  if (!std::isfinite(request.temperature) || request.temperature < 0 ||
      !(request.top_p > 0 && request.top_p <= 1)) {
    return InvalidArgument(
        "got temperature {} and top_p {}, wanted 0 or more, and above 0 and at "
        "most 1",
        request.temperature, request.top_p);
  }
  if (request.logprobs.value_or(0) < 0 ||
      request.logprobs.value_or(0) > limits.vocab_size) {
    return InvalidArgument("logprobs: got {}, wanted 0 to {}",
                           *request.logprobs, limits.vocab_size);
  }
  if (request.stop.size() > kMaxStopTexts ||
      std::any_of(request.stop.begin(), request.stop.end(),
                  [](const std::string& stop) {
                    return stop.empty() || stop.size() > kMaxStopBytes;
                  })) {
    return InvalidArgument("stop: wanted at most {} texts of 1 to {} bytes",
                           kMaxStopTexts, kMaxStopBytes);
  }
  const int64_t room =
      std::min(limits.context,
               limits.cache_tokens / std::max<int64_t>(1, request.choices));
  int64_t tokens = wanted;
  if (tokens > room - length && request.shorten) {
    tokens = std::max<int64_t>(1, room - length);
  }
  // What needs no cache has the whole context.
  const int64_t limit = tokens > 1 ? room : limits.context;
  if (tokens > limit - length) {
    return InvalidArgument(
        "the prompt has {} tokens and {} are to be made, wanted at most {} "
        "together{}",
        length, tokens, limit,
        request.choices > 1 ? " for each of so many choices" : "");
  }
  return tokens;
}

}  // namespace tributary::coordinator
