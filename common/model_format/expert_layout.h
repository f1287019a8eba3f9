#pragma once

#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/model_config.h"
#include "common/safetensors/header.h"

namespace tributary::model_format {

// How wide an expert is in each layer. Width 0: the expert has no weights there
// and stands for the anchor's own FFN; its router tensors are present all the
// same.
struct ExpertLayout {
  std::vector<int64_t> widths;
  // Empty, or per layer: above 0 where the matrices are given as differences
  // of that rank to the anchor's FFN, whose width the expert then has.
  std::vector<int64_t> ranks = {};

  // `width` in layers `first_layer` and up, 0 below.
  static ExpertLayout Uniform(int64_t num_layers, int64_t first_layer,
                              int64_t width);
  // The first layer with weights; the number of layers when there is none.
  int64_t first_layer() const;
  int64_t rank(int64_t layer) const {
    return ranks.empty() ? 0 : ranks[static_cast<size_t>(layer)];
  }

  friend bool operator==(const ExpertLayout&, const ExpertLayout&) = default;
};

// The unit of widths for an anchor whose FFN has `intermediate_size` channels:
// 128 when that divides it, else the largest power of two that does.
// INVALID_ARGUMENT when that is less than 8.
StatusOr<int64_t> WidthBlock(int64_t intermediate_size);

// `width` rounded down to a multiple of the anchor's block, at least one block.
StatusOr<int64_t> RoundToBlock(int64_t intermediate_size, int64_t width);

struct LayoutLimits {
  int64_t max_width = 0;  // 0: the anchor's own FFN width
};

// INVALID_ARGUMENT unless there is one width per layer, each a multiple of the
// block and within the limits, and ranks only where the width is the anchor's
// and the factors are smaller than the matrices.
Status CheckLayout(const ModelConfig& anchor, const ExpertLayout& layout,
                   const LayoutLimits& limits = {});

// The tensors of an expert file in the order in which it stores them: by layer,
// gate_proj, up_proj, down_proj (bf16, only where the width is not 0; where
// there is a rank, factors A and B of each), router weight and bias (fp32).
StatusOr<std::vector<safetensors::TensorSpec>> ExpertTensors(
    const ModelConfig& anchor, const ExpertLayout& layout,
    const LayoutLimits& limits = {});

// The layout that the tensors of a file have, after checking that exactly the
// names, dtypes and shapes of ExpertTensors are present, in any order.
// INVALID_ARGUMENT naming the first tensor that is missing, unexpected or
// wrong.
StatusOr<ExpertLayout> ReadExpertLayout(
    const ModelConfig& anchor,
    const std::vector<safetensors::TensorInfo>& tensors,
    const LayoutLimits& limits = {});

// Bytes of a layer's matrices or factors, which come before its row.
uint64_t LayerBytes(int64_t hidden_size, int64_t width, int64_t rank);

// Weights of the expert's matrices, or of their factors, and of its router
// rows, in elements.
struct ExpertParameters {
  int64_t mlp = 0;
  int64_t router = 0;
  int64_t total() const { return mlp + router; }
};
ExpertParameters CountExpertParameters(const ModelConfig& anchor,
                                       const ExpertLayout& layout);

// All parameters of a model; of a mixture with all its experts. Tied embeddings
// count once.
int64_t CountModelParameters(const ModelConfig& config);

}  // namespace tributary::model_format
