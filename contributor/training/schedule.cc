#include "contributor/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>
#include <utility>

namespace tributary::contributor {

Status CheckOptimizer(const OptimizerOptions& options) {
  struct Rule {
    bool holds;
    const char* name;
    double value;
    const char* wanted;
  };
  const Rule rules[] = {
      {options.learning_rate > 0 && std::isfinite(options.learning_rate),
       "learning_rate", options.learning_rate, "more than 0"},
      {options.beta1 >= 0 && options.beta1 < 1, "beta1", options.beta1,
       "0 to 1"},
      {options.beta2 >= 0 && options.beta2 < 1, "beta2", options.beta2,
       "0 to 1"},
      {options.weight_decay >= 0, "weight_decay", options.weight_decay,
       "at least 0"},
      {options.clip_norm >= 0, "clip_norm", options.clip_norm, "at least 0"},
      {options.warmup_steps >= 0, "warmup_steps",
       static_cast<double>(options.warmup_steps), "at least 0"},
      {options.final_fraction >= 0 && options.final_fraction <= 1,
       "final_fraction", options.final_fraction, "0 to 1"},
      {options.epochs >= 1, "epochs", static_cast<double>(options.epochs),
       "at least 1"},
      {options.windows_per_step >= 1, "windows_per_step",
       static_cast<double>(options.windows_per_step), "at least 1"},
      {options.micro_batch_windows >= 0, "micro_batch_windows",
       static_cast<double>(options.micro_batch_windows), "at least 0"},
      {options.checkpoint_steps >= 1, "checkpoint_steps",
       static_cast<double>(options.checkpoint_steps), "at least 1"},
      {options.validation_steps >= 0, "validation_steps",
       static_cast<double>(options.validation_steps), "at least 0"},
      {options.patience >= 0, "patience", static_cast<double>(options.patience),
       "at least 0"},
      {options.patience == 0 || options.validation_steps > 0,
       "validation_steps", static_cast<double>(options.validation_steps),
       "at least 1 where patience is set"},
      {options.min_improvement >= 0, "min_improvement", options.min_improvement,
       "at least 0"},
      {std::all_of(options.nested_widths.begin(), options.nested_widths.end(),
                   [](int64_t width) { return width > 0; }),
       "nested_widths", 0, "more than 0"},
  };
  for (const Rule& rule : rules) {
    if (!rule.holds) {
      return InvalidArgument("optimizer {}: got {}, wanted {}", rule.name,
                             rule.value, rule.wanted);
    }
  }
  return absl::OkStatus();
}

int64_t StepsPerEpoch(const OptimizerOptions& options, int64_t windows) {
  return (windows + options.windows_per_step - 1) / options.windows_per_step;
}

double LearningRate(const OptimizerOptions& options, int64_t step,
                    int64_t steps) {
  if (step < options.warmup_steps) {
    return options.learning_rate * static_cast<double>(step + 1) /
           static_cast<double>(options.warmup_steps);
  }
  const double rest = static_cast<double>(steps - options.warmup_steps);
  const double done =
      rest > 0 ? static_cast<double>(step - options.warmup_steps) / rest : 1;
  const double low = options.final_fraction;
  switch (options.schedule) {
    case Schedule::kConstant:
      return options.learning_rate;
    case Schedule::kLinear:
      return options.learning_rate * (low + (1 - low) * (1 - done));
    case Schedule::kCosine:
      break;
  }
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return options.learning_rate * (low + (1 - low) * cosine);
}

std::vector<int64_t> EpochOrder(uint64_t seed, int64_t epoch, int64_t windows) {
  std::seed_seq seeds{static_cast<uint32_t>(seed),
                      static_cast<uint32_t>(seed >> 32),
                      static_cast<uint32_t>(epoch)};
  std::mt19937_64 random(seeds);
  std::vector<int64_t> order(windows);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = windows - 1; i > 0; --i) {
    std::swap(order[i], order[random() % static_cast<uint64_t>(i + 1)]);
  }
  return order;
}

int64_t NestedWidth(const OptimizerOptions& options, uint64_t seed,
                    int64_t step) {
  if (options.nested_widths.empty()) {
    return 0;
  }
  // The last word tells this sequence from that of EpochOrder.
  std::seed_seq seeds{static_cast<uint32_t>(seed),
                      static_cast<uint32_t>(seed >> 32),
                      static_cast<uint32_t>(step), uint32_t{0x77696474}};
  std::mt19937_64 random(seeds);
  return options.nested_widths[random() % options.nested_widths.size()];
}

}  // namespace tributary::contributor
