#include "coordinator/inference/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tributary::coordinator {
namespace {

constexpr size_t kFirstSorted = 64;

}  // namespace

double Sampler::KeepNucleus(double total) {
  const auto likelier = [this](int32_t a, int32_t b) {
    const double x = weights_[static_cast<size_t>(a)];
    const double y = weights_[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  // Sorts ever more of the likeliest tokens until they are enough.
  double kept = 0;
  size_t count = 0;
  for (size_t sorted = std::min(kFirstSorted, ids_.size());;
       sorted = std::min(sorted * 8, ids_.size())) {
    std::partial_sort(ids_.begin() + static_cast<std::ptrdiff_t>(count),
                      ids_.begin() + static_cast<std::ptrdiff_t>(sorted),
                      ids_.end(), likelier);
    while (count < sorted && kept < top_p_ * total) {
      kept += weights_[static_cast<size_t>(ids_[count++])];
    }
    if (kept >= top_p_ * total || sorted == ids_.size()) {
      break;
    }
  }
  ids_.resize(std::max<size_t>(count, 1));
  return kept;
}

int32_t Sampler::Choose(std::span<const float> logits) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (temperature_ == 0) {
    return static_cast<int32_t>(largest - logits.begin());
  }
  weights_.resize(logits.size());
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    weights_[i] =
        std::exp((static_cast<double>(logits[i]) - *largest) / temperature_);
    total += weights_[i];
  }
  ids_.resize(logits.size());
  std::iota(ids_.begin(), ids_.end(), 0);
  if (top_p_ < 1) {
    total = KeepNucleus(total);
  }
  double rest = static_cast<double>(random_() >> 11) * 0x1.0p-53 * total;
  for (const int32_t id : ids_) {
    rest -= weights_[static_cast<size_t>(id)];
    if (rest < 0) {
      return id;
    }
  }
  return ids_.front();  // only by rounding
}

}  // namespace tributary::coordinator
