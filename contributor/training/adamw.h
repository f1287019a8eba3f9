#pragma once

#include <cstdint>
#include <vector>

#include "ATen/ATen.h"
#include "contributor/training/gated_loops.h"
#include "contributor/training/schedule.h"

namespace tributary::contributor {

// AdamW (Loshchilov and Hutter, 2019, algorithm 2) with clipping by the norm of
// all gradients: on the CPU two passes over memory for all parameters together
// (norm, update), or one without clipping, the same bits on any number of
// threads; elsewhere LibTorch's fused kernel. State exists for these parameters
// only. Throws as LibTorch does.
class AdamW {
 public:
  // `parameters` are contiguous fp32 leaves that require gradients.
  AdamW(std::vector<at::Tensor> parameters, const OptimizerOptions& options);

  // One update from the parameters' gradients, which are dropped. Returns their
  // norm before clipping. When it is not finite nothing is changed; without
  // clipping, nothing becomes anything but a number.
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

  double SquaresOf(const Piece& piece,
                   const std::vector<at::Tensor>& gradients) const;
  void Update(const Piece& piece, const AdamWStep& step,
              const std::vector<at::Tensor>& gradients) const;
  // Of the step that comes next.
  AdamWStep Constants(double learning_rate) const;
  double StepOnHost(const std::vector<at::Tensor>& gradients,
                    double learning_rate);
  double StepOnDevice(const std::vector<at::Tensor>& gradients,
                      double learning_rate);

  const OptimizerOptions options_;
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> first_;
  std::vector<at::Tensor> second_;
  std::vector<Piece> pieces_;            // CPU
  std::vector<at::Tensor> step_counts_;  // elsewhere, as the kernel wants them
  int64_t steps_ = 0;
};

}  // namespace tributary::contributor
