#pragma once

// How much memory a training run needs, by arithmetic, before it starts.

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/model_config.h"

namespace tributary::contributor {

// What the arithmetic goes by.
struct TrainingShape {
  int64_t hidden = 0;
  int64_t num_layers = 0;
  int64_t intermediate = 0;
  int64_t vocabulary = 0;
  int64_t query_width = 0;  // heads * head_dim
  int64_t kv_width = 0;     // kv heads * head_dim
  int64_t num_heads = 0;
  bool tied_embeddings = false;
  bool post_norm = false;
  bool qk_norm = false;

  int64_t first_layer = 0;
  std::vector<int64_t> widths;  // of the expert, one per layer
  int64_t window_tokens = 0;
  int64_t windows_at_a_time = 1;     // computed together
  int64_t windows_per_step = 1;      // gradients add up over them
  int64_t frozen_element_bytes = 4;  // 2 for bf16
  int64_t stored_element_bytes = 2;  // of the anchor's files
  bool recompute_activations = false;
  bool distils = false;  // a teacher's answers are read, its weights loaded
  // Windows of both splits, whose stored states are mapped.
  int64_t train_windows = 0;
  int64_t heldout_windows = 0;
};

// The shape of `config` with an expert of `widths` (one for all layers from
// first_layer on, or one per layer).
TrainingShape ShapeOf(const model_format::ModelConfig& config,
                      int64_t first_layer, const std::vector<int64_t>& widths);

// Bytes. docs/method.md has the formulas.
struct TrainingMemory {
  int64_t process = 0;    // libraries, before anything is loaded
  int64_t weights = 0;    // frozen and trained
  int64_t optimizer = 0;  // both moments
  int64_t gradients = 0;
  int64_t activations = 0;  // kept from the forward for the backward pass
  int64_t logits = 0;       // one chunk
  int64_t working = 0;      // what a layer's backward pass needs besides
  int64_t data = 0;         // mapped states and teacher's answers
  int64_t loading = 0;      // the anchor's files beside its weights
  int64_t peak = 0;

  // "1.2 GiB (process 300 MiB, weights ...)".
  std::string ToString() const;
};
TrainingMemory PredictTrainingMemory(const TrainingShape& shape);

// Resident size of a worker that has loaded nothing.
inline constexpr int64_t kProcessBytes = int64_t{140} << 20;

// RESOURCE_EXHAUSTED with the numbers, and with what would make it fit, when
// the prediction is above `available` bytes ("available" names where these come
// from).
Status CheckFits(const TrainingShape& shape, int64_t available,
                 const std::string& available_name);

}  // namespace tributary::contributor
