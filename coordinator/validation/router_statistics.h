#pragma once

// Sums over the MoE inputs of a contributor's text, from which routers are
// solved (docs/routers.md). D model width.

#include <cstdint>
#include <filesystem>
#include <memory>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/safetensors/reader.h"
#include "coordinator/validation/validate_expert.h"

namespace tributary::coordinator {

// A statistics file: `tokens` int64 [], and for every layer from some first one
// to the last `layers.{l}.second_moment` float64 [D, D] (sum of x x^T) and
// `layers.{l}.sum` float64 [D]. Nothing else.
class RouterStatistics {
 public:
  // INVALID_ARGUMENT naming what is missing, more, or of another shape.
  static StatusOr<RouterStatistics> Open(const std::filesystem::path& path,
                                         int64_t num_layers,
                                         int64_t hidden_size);

  int64_t tokens() const { return tokens_; }
  int64_t first_layer() const { return first_layer_; }

  // Copies, fp64 [D, D] and [D], of a layer from first_layer on.
  StatusOr<at::Tensor> SecondMoment(int64_t layer) const;
  StatusOr<at::Tensor> Sum(int64_t layer) const;

 private:
  std::shared_ptr<const safetensors::File> file_;
  int64_t tokens_ = 0;
  int64_t first_layer_ = 0;
};

// The gate "statistics": the layers are those that public statistics cover,
// every number is finite, matrices are symmetric, positive semidefinite and
// agree with the sums, and inputs are at most `max_rms_ratio` times as large as
// those of public prose.
GateResult CheckRouterStatistics(const std::filesystem::path& path,
                                 int64_t num_layers, int64_t hidden_size,
                                 const safetensors::File& public_statistics,
                                 double max_rms_ratio);

}  // namespace tributary::coordinator
