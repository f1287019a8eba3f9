#pragma once

#include <span>
#include <utility>
#include <vector>

#include "ATen/ATen.h"

namespace tributary::coordinator {

// Logits of some positions [R, V] on the host, and log-probabilities from them
// where they are asked for: logit minus the row's log-sum-exp, in fp32, so that
// a token has one value wherever it is listed.
class ScoredRows {
 public:
  // `top`: so many likeliest tokens can be asked for; below 0: no
  // log-probabilities at all. Throws as LibTorch does.
  ScoredRows(const at::Tensor& logits_RV, int64_t top);

  std::span<const float> logits(int64_t row) const;
  float LogProbability(int64_t row, int32_t id) const;
  // The `count` likeliest tokens, likeliest first.
  std::vector<std::pair<int32_t, float>> Top(int64_t row, int64_t count) const;

 private:
  at::Tensor logits_RV_;
  at::Tensor log_sum_R_;
  at::Tensor top_values_RK_;
  at::Tensor top_ids_RK_;
};

}  // namespace tributary::coordinator
