#pragma once

// Router rows by ridge regression (after DUME, arXiv 2603.29765) from sums that
// contributors make of their MoE inputs. E experts with the public one, D model
// width.
//
// Per layer, with X the inputs of all texts with a column of ones behind them
// and Y their one-hot domain (0: public): W = (X^T X + lambda m I)^-1 X^T Y,
// m the mean diagonal element. Column e of W, divided by its norm and by the
// temperature, is expert e's row and bias; the public one is taken off all of
// them, which changes no softmax. Sums are added in the order of the
// contributions, the public one first, so that an expert that left has left no
// trace: the result is that of the others alone, bit for bit.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

struct RidgeInput {
  std::string contribution;
  std::filesystem::path statistics_path;  // validation/router_statistics.h
};

struct RidgeOptions {
  // In the order of the release.
  std::vector<RidgeInput> contributions;
  // public/statistics.safetensors: all its classes are public text.
  std::filesystem::path public_statistics_path;
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  double lambda = 1e-3;
  double temperature = 10;
  double max_condition = 1e12;
  std::filesystem::path output_path;
  std::function<void(double, const std::string&)> on_progress;
};

struct RidgeLayer {
  int64_t layer = 0;
  // Of X^T X + lambda m I, in the 1-norm, estimated.
  double condition = 0;
};

// Writes the router file of the release with these contributions. Layers
// without public statistics have rows of zeros. INVALID_ARGUMENT for files that
// do not fit, FAILED_PRECONDITION for a layer that is not positive definite or
// worse conditioned than allowed; nothing is written then.
StatusOr<std::vector<RidgeLayer>> SolveRidge(const RidgeOptions& options);

}  // namespace tributary::coordinator
