#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace tributary::coordinator {

// Chooses tokens from logits; the same seed and logits give the same tokens.
class Sampler {
 public:
  // temperature 0 takes the likeliest token, the first of several. Otherwise
  // softmax(logits / temperature) is drawn from, limited to the smallest set of
  // likeliest tokens whose probabilities add up to top_p or more (nucleus
  // sampling, arXiv 1904.09751); top_p is above 0 and at most 1.
  Sampler(double temperature, double top_p, uint64_t seed)
      : temperature_(temperature), top_p_(top_p), random_(seed) {}

  // `logits` is not empty.
  int32_t Choose(std::span<const float> logits);

 private:
  // Leaves the nucleus in ids_, likeliest first; weights_ are by id.
  double KeepNucleus(double total);

  const double temperature_;
  const double top_p_;
  std::mt19937_64 random_;
  std::vector<double> weights_;
  std::vector<int32_t> ids_;
};

}  // namespace tributary::coordinator
