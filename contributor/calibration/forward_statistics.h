#pragma once

// What one forward pass adds up. T tokens, F channels, D model width.

#include <vector>

#include "ATen/ATen.h"
#include "common/model/causal_lm.h"
#include "contributor/calibration/calibrate.h"

namespace tributary::contributor {

// The FFN whose channels are scored in a layer: that of the expert beside the
// anchor, null where it has no weights, or the anchor's own when there is none.
const model::Ffn* ScoredFfn(const model::CausalLm& lm, int64_t layer);

// Empty sums for the layers from first_layer on that have such an FFN.
ImportanceSums EmptySums(const model::CausalLm& lm, int64_t first_layer,
                         const std::vector<Formula>& formulas);

// Adds up what hooks see of those layers: all formulas but kTaylor into `sums`,
// samples and second moments.
class ForwardStatistics {
 public:
  // Reads the rows of `options`. `windows` and `length` are of all that will
  // be seen.
  static StatusOr<std::unique_ptr<ForwardStatistics>> Create(
      const model::CausalLm& lm, const CalibrateOptions& options,
      int64_t train_tokens, ImportanceSums* sums);

  // Hooks for a batch of `windows` windows that begins at `token` of `train`.
  // They live as long as this object.
  model::Hooks HooksFor(int64_t windows, int64_t token);

  // The first error that a hook met.
  const Status& status() const { return status_; }

  Status Write(const CalibrateOptions& options) const;

 private:
  ForwardStatistics(const model::CausalLm& lm, const CalibrateOptions& options,
                    int64_t train_tokens, ImportanceSums* sums);
  void Sum(int64_t layer, int64_t windows, const at::Tensor& a_TF);
  void Sample(int64_t layer, int64_t token, const at::Tensor& x_TD);
  void AddSecondMoment(int64_t layer, const at::Tensor& x_TD);
  bool Wants(Formula formula) const;

  const model::CausalLm& lm_;
  const int64_t first_layer_;
  const int64_t stride_;
  const bool second_moments_;
  ImportanceSums& sums_;
  std::vector<at::Tensor> rows_;     // per layer [D + 1], or none
  std::vector<at::Tensor> weights_;  // of kReap per layer, fp32 [T]
  std::vector<at::Tensor> samples_;  // per layer, bf16 [tokens, D]
  std::vector<at::Tensor> moments_;  // per layer, fp64 [D, D], upper blocks
  std::vector<at::Tensor> totals_;   // per layer, fp64 [D]
  int64_t moment_tokens_ = 0;        // that went into them
  Status status_;
};

}  // namespace tributary::contributor
