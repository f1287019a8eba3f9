#include "coordinator/inference/scored_rows.h"

#include <algorithm>
#include <tuple>

namespace tributary::coordinator {

ScoredRows::ScoredRows(const at::Tensor& logits_RV, int64_t top) {
  const at::Tensor logits = logits_RV.to(at::kFloat);
  if (top >= 0) {
    log_sum_R_ = at::logsumexp(logits, -1).to(at::kCPU).contiguous();
  }
  if (top > 0) {
    std::tie(top_values_RK_, top_ids_RK_) =
        at::topk(logits, std::min(top, logits.size(1)));
    top_values_RK_ = top_values_RK_.to(at::kCPU).contiguous();
    top_ids_RK_ = top_ids_RK_.to(at::kCPU).contiguous();
  }
  logits_RV_ = logits.to(at::kCPU).contiguous();
}

std::span<const float> ScoredRows::logits(int64_t row) const {
  const auto size = static_cast<size_t>(logits_RV_.size(1));
  return {logits_RV_.const_data_ptr<float>() + static_cast<size_t>(row) * size,
          size};
}

float ScoredRows::LogProbability(int64_t row, int32_t id) const {
  return logits(row)[static_cast<size_t>(id)] -
         log_sum_R_.const_data_ptr<float>()[row];
}

std::vector<std::pair<int32_t, float>> ScoredRows::Top(int64_t row,
                                                       int64_t count) const {
  std::vector<std::pair<int32_t, float>> top;
  if (!top_ids_RK_.defined()) {
    return top;
  }
  const int64_t stored = top_ids_RK_.size(1);
  const int64_t* ids = top_ids_RK_.const_data_ptr<int64_t>() + row * stored;
  const float* values = top_values_RK_.const_data_ptr<float>() + row * stored;
  for (int64_t i = 0; i < std::min(count, stored); ++i) {
    top.emplace_back(static_cast<int32_t>(ids[i]),
                     values[i] - log_sum_R_.const_data_ptr<float>()[row]);
  }
  return top;
}

}  // namespace tributary::coordinator
