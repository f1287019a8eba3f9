#pragma once

#include <cstdint>
#include <vector>

#include "ATen/ATen.h"
#include "contributor/training/schedule.h"

namespace tributary::contributor {

// AdamW (Loshchilov and Hutter, 2019, algorithm 2) with clipping by the norm of
// all gradients, through LibTorch's fused kernel. Throws as LibTorch does.
class AdamW {
 public:
  // `parameters` are fp32 leaves that require gradients.
  AdamW(std::vector<at::Tensor> parameters, const OptimizerOptions& options);

  // One update from the parameters' gradients, which are dropped. Returns their
  // norm before clipping; when it is not finite nothing is changed.
  double Step(double learning_rate);

  int64_t steps() const { return steps_; }
  // Moments in the order of the parameters; written to when a checkpoint is
  // loaded.
  const std::vector<at::Tensor>& first_moments() const { return first_; }
  const std::vector<at::Tensor>& second_moments() const { return second_; }
  void set_steps(int64_t steps);

 private:
  const OptimizerOptions options_;
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> first_;
  std::vector<at::Tensor> second_;
  std::vector<at::Tensor> step_counts_;  // as the kernel wants them
  int64_t steps_ = 0;
};

}  // namespace tributary::contributor
