#include "coordinator/inference/running_request.h"

#include <algorithm>

namespace tributary::coordinator {
namespace {

// Far apart for neighbouring choices (the finaliser of SplitMix64).
uint64_t SeedOf(uint64_t seed, int choice) {
  if (choice == 0) {
    return seed;
  }
  uint64_t x = seed + static_cast<uint64_t>(choice) * 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

}  // namespace

RunningRequest::RunningRequest(uint64_t id, CompletionRequest wanted,
                               int64_t max_tokens)
    : id(id), request(std::move(wanted)), max_tokens(max_tokens) {
  for (int i = 0; i < request.choices; ++i) {
    choices.push_back({.index = i,
                       .text = AnswerText(request.stop),
                       .sampler = Sampler(request.temperature, request.top_p,
                                          SeedOf(request.seed, i)),
                       .cache = nullptr});
  }
  usage.prompt_tokens = prompt_size();
}

bool RunningRequest::finished() const {
  return std::all_of(choices.begin(), choices.end(),
                     [](const Choice& choice) { return choice.done; });
}

}  // namespace tributary::coordinator
