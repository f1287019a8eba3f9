#pragma once

#include <cstdint>
#include <vector>

#include "ATen/ATen.h"
#include "contributor/training/schedule.h"

namespace tributary::contributor {

// AdamW (Loshchilov and Hutter, 2019, algorithm 2) with clipping by the norm of
// all gradients: on the CPU two passes over memory for all parameters together
// (norm, update), the same bits on any number of threads; elsewhere LibTorch's
// fused kernel. State exists for these parameters only. Throws as LibTorch
// does.
class AdamW {
 public:
  // `parameters` are contiguous fp32 leaves that require gradients.
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
  // A piece of one parameter: what a thread works on at a time.
  struct Piece {
    size_t parameter = 0;
    int64_t begin = 0;
    int64_t count = 0;
  };

  double NormOf(const std::vector<at::Tensor>& gradients) const;
  void Update(const std::vector<at::Tensor>& gradients, double learning_rate,
              double scale);

  const OptimizerOptions options_;
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> first_;
  std::vector<at::Tensor> second_;
  std::vector<Piece> pieces_;            // CPU
  std::vector<at::Tensor> step_counts_;  // elsewhere, as the kernel wants them
  int64_t steps_ = 0;
};

}  // namespace tributary::contributor
