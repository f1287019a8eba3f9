#pragma once

// Experts as this side keeps them while it works on them: fp32 matrices
// without router rows, named as in an expert file.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/hf_directory.h"
#include "common/model_format/model_config.h"

namespace tributary::contributor {

// One layer's matrices, row-major.
struct LayerWeights {
  int64_t width = 0;
  std::vector<float> gate_FD;
  std::vector<float> up_FD;
  std::vector<float> down_DF;
};

// A layer's FFN of the anchor.
StatusOr<LayerWeights> ReadAnchorLayer(const model_format::HfDirectory& anchor,
                                       int64_t layer);

// The channels `kept` of a layer, in that order.
LayerWeights SelectChannels(const LayerWeights& from,
                            const std::vector<int32_t>& kept,
                            int64_t hidden_size);

// Experts on disk, with or without rows, fp32 or bf16.
class ExpertFile {
 public:
  // INVALID_ARGUMENT for tensors that no expert has, for shapes that do not
  // belong to the anchor, and for widths that are not multiples of its block.
  static StatusOr<ExpertFile> Open(const model_format::ModelConfig& anchor,
                                   const std::filesystem::path& path);

  const model_format::ExpertLayout& layout() const { return layout_; }
  const safetensors::File& file() const { return *file_; }
  bool has_rows() const { return has_rows_; }
  // A layer of width 0 has empty matrices.
  StatusOr<LayerWeights> ReadLayer(int64_t layer) const;

 private:
  explicit ExpertFile(std::shared_ptr<const safetensors::File> file)
      : file_(std::move(file)) {}
  std::shared_ptr<const safetensors::File> file_;
  model_format::ExpertLayout layout_;
  bool has_rows_ = false;
};

// Writes fp32 matrices without rows; `layers` has one entry per layer of the
// model.
Status WriteExpertWeights(const std::filesystem::path& path,
                          int64_t hidden_size,
                          const std::vector<LayerWeights>& layers);

// The same with matrices in fp32 or bf16 (rounded to nearest), a row [h] per
// layer and biases of 0.
Status WriteExpertWithRows(const std::filesystem::path& path,
                           int64_t hidden_size,
                           const std::vector<LayerWeights>& layers,
                           const std::vector<std::vector<float>>& rows,
                           safetensors::DType dtype);

}  // namespace tributary::contributor
