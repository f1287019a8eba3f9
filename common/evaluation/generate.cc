#include "common/evaluation/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "ATen/Parallel.h"
#include "common/model/errors.h"

namespace tributary::evaluation {
namespace {

using at::Tensor;
using model::CausalLm;

Status CheckArguments(const CausalLm& lm, const std::vector<int32_t>& prompt,
                      const GenerateOptions& options) {
  if (prompt.empty()) {
    return InvalidArgument("the prompt has no tokens; give at least one word");
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= lm.config.vocab_size) {
      return InvalidArgument("the prompt has token {}, wanted 0 to {}", id,
                             lm.config.vocab_size - 1);
    }
  }
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    return InvalidArgument("temperature: got {}, wanted 0 or more",
                           options.temperature);
  }
  const auto length = static_cast<int64_t>(prompt.size()) + options.max_tokens;
  if (options.max_tokens < 1 || length > lm.config.max_position_embeddings) {
    return InvalidArgument(
        "got a prompt of {} tokens and {} to make, wanted at least 1 to make "
        "and at most {} in all",
        prompt.size(), options.max_tokens, lm.config.max_position_embeddings);
  }
  return absl::OkStatus();
}

// One position at a time reads every weight once and computes little: half the
// threads saturate the memory, and fewer wait for each other on busy machines.
class FewerThreads {
 public:
  FewerThreads() : before_(at::get_num_threads()) {
    at::set_num_threads(std::max(1, before_ / 2));
  }
  ~FewerThreads() { at::set_num_threads(before_); }
  FewerThreads(const FewerThreads&) = delete;
  FewerThreads& operator=(const FewerThreads&) = delete;

 private:
  const int before_;
};

// Chooses the next token from logits [V].
class Sampler {
 public:
  Sampler(double temperature, uint64_t seed)
      : temperature_(temperature), random_(seed) {}

  int32_t Next(const Tensor& logits) {
    const Tensor host =
        logits.to(at::TensorOptions(at::kCPU).dtype(at::kFloat)).contiguous();
    const float* data = host.const_data_ptr<float>();
    const int64_t size = host.numel();
    const float* largest = std::max_element(data, data + size);
    if (temperature_ == 0) {
      return static_cast<int32_t>(largest - data);
    }
    weights_.resize(static_cast<size_t>(size));
    double total = 0;
    for (int64_t i = 0; i < size; ++i) {
      total +=
          std::exp((static_cast<double>(data[i]) - *largest) / temperature_);
      weights_[static_cast<size_t>(i)] = total;
    }
    const double draw =
        static_cast<double>(random_() >> 11) * 0x1.0p-53 * total;
    const auto found = std::upper_bound(weights_.begin(), weights_.end(), draw);
    return static_cast<int32_t>(
        std::min<int64_t>(found - weights_.begin(), size - 1));
  }

 private:
  const double temperature_;
  std::mt19937_64 random_;
  std::vector<double> weights_;  // running sums
};

// Logits [V] of the last position of `ids`, which follow the cached ones.
Tensor Step(const CausalLm& lm, const std::vector<int32_t>& ids,
            model::KvCache& cache) {
  const auto count = static_cast<int64_t>(ids.size());
  const Tensor input =
      at::tensor(at::IntArrayRef(std::vector<int64_t>(ids.begin(), ids.end())),
                 at::kLong)
          .view({1, count});
  const Tensor x = model::RunLayers(lm, model::Embed(lm, input), 0,
                                    lm.num_layers(), {.cache = &cache});
  cache.length += count;
  return model::Logits(lm, model::FinalNorm(lm, x.narrow(1, count - 1, 1)))
      .flatten();
}

}  // namespace

StatusOr<Generated> Generate(const CausalLm& lm,
                             const std::vector<int32_t>& prompt,
                             const GenerateOptions& options) {
  RETURN_IF_ERROR(CheckArguments(lm, prompt, options));
  return model::CatchTorch([&]() -> StatusOr<Generated> {
    using Clock = std::chrono::steady_clock;
    at::NoGradGuard no_gradients;
    Generated result;
    Sampler sampler(options.temperature, options.seed);
    model::KvCache cache = model::KvCache::Create(
        lm, 1, static_cast<int64_t>(prompt.size()) + options.max_tokens);
    const auto& ends = lm.config.eos_token_ids;
    Tensor logits = Step(lm, prompt, cache);
    const FewerThreads fewer_threads;
    const Clock::time_point start = Clock::now();
    while (true) {
      if (options.cancellation != nullptr) {
        RETURN_IF_ERROR(options.cancellation->Check());
      }
      const int32_t next = sampler.Next(logits);
      if (std::find(ends.begin(), ends.end(), next) != ends.end()) {
        result.end = Generated::End::kEndOfText;
        break;
      }
      result.ids.push_back(next);
      if (options.on_token) {
        options.on_token(next);
      }
      if (static_cast<int64_t>(result.ids.size()) == options.max_tokens) {
        break;
      }
      logits = Step(lm, {next}, cache);
    }
    const double seconds =
        std::chrono::duration<double>(Clock::now() - start).count();
    result.tokens_per_second =
        seconds > 0 ? static_cast<double>(result.ids.size()) / seconds : 0.0;
    return result;
  });
}

}  // namespace tributary::evaluation
