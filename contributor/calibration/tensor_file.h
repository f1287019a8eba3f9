#pragma once

// Tensors in safetensors files that this side writes for itself.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/safetensors/reader.h"

namespace tributary::contributor {

// Opens a file of our own making.
StatusOr<std::shared_ptr<const safetensors::File>> OpenTensorFile(
    const std::filesystem::path& path);

// A tensor of a file without a copy, in the stored dtype: never write to it.
// NOT_FOUND names the file and the tensor.
StatusOr<at::Tensor> MapTensor(
    const std::shared_ptr<const safetensors::File>& file,
    std::string_view name);

// The same, checked to be a floating point tensor of `sizes` (-1: any), as
// fp32. INVALID_ARGUMENT for another shape or type.
StatusOr<at::Tensor> MapFloats(
    const std::shared_ptr<const safetensors::File>& file, std::string_view name,
    const std::vector<int64_t>& sizes);

// Token ids [B, S], int64, all within the vocabulary, B and S at least
// (1, 2). INVALID_ARGUMENT otherwise.
StatusOr<at::Tensor> ReadTokenIds(
    const std::shared_ptr<const safetensors::File>& file, std::string_view name,
    int64_t vocab_size);

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes tensors (fp32, bf16, fp16, int16, int32, int64, uint8) in this order,
// atomically.
Status WriteTensors(const std::filesystem::path& path,
                    const NamedTensors& tensors,
                    const std::map<std::string, std::string>& metadata = {});

}  // namespace tributary::contributor
