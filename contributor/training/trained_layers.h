#pragma once

// The forward pass that training differentiates: the anchor's layers with one
// expert beside the FFN. B batch, S positions, T tokens, D width.

#include <cstdint>
#include <vector>

#include "ATen/ATen.h"
#include "common/model/causal_lm.h"

namespace tributary::contributor {

// A router row that is trained, as leaves; row 0 of the router stays frozen.
struct TrainedRow {
  at::Tensor row_D;   // undefined: the layer's router is used as it is
  at::Tensor bias_1;  // undefined: none
};

struct TrainedPassOptions {
  // Keeps the input of each layer alone and computes the rest again in the
  // backward pass.
  bool recompute_activations = false;
  // Experts take part with their first channels only, at most this many; 0:
  // with all.
  int64_t prefix_width = 0;
  // As model::RunOptions::documents_BS.
  at::Tensor documents_BS;
  // One entry per layer of the model, or none.
  std::vector<TrainedRow> rows;
};

struct TrainedPass {
  at::Tensor x_BSD;  // behind the last layer
  // Sum over layers with a trained row of mean_T logsumexp(router logits)^2;
  // undefined without trained rows.
  at::Tensor z_loss;
};

// Layers [first_layer, end) of `lm`, whose last expert is the one beside the
// anchor: {public, expert} or no experts. Numerically the same with and without
// recomputation, bit for bit. A backward pass can run once. Throws as LibTorch
// does.
TrainedPass RunTrainedLayers(const model::CausalLm& lm, const at::Tensor& x_BSD,
                             int64_t first_layer,
                             const TrainedPassOptions& options);

}  // namespace tributary::contributor
