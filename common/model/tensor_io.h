#pragma once

// Between safetensors files and tensors.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/safetensors/reader.h"

namespace tributary::model {

// The dtype of a file's elements as LibTorch calls it, and back.
// INVALID_ARGUMENT for one that safetensors files do not have.
at::ScalarType ToScalarType(safetensors::DType dtype);
StatusOr<safetensors::DType> FromScalarType(at::ScalarType type);

// A copy of a tensor on the host. `dtype` converts floating point elements;
// without it the file's dtype stays.
StatusOr<at::Tensor> ReadTensor(
    const safetensors::File& file, const safetensors::TensorInfo& info,
    std::optional<at::ScalarType> dtype = std::nullopt);

// The same by name. NOT_FOUND naming file and tensor.
StatusOr<at::Tensor> ReadTensor(
    const safetensors::File& file, std::string_view name,
    std::optional<at::ScalarType> dtype = std::nullopt);

// Token ids, int64 [B, S] (int32 in the file is fine). INVALID_ARGUMENT for
// another dtype or rank, or ids outside [0, vocab_size).
StatusOr<at::Tensor> ReadTokenIds(const safetensors::File& file,
                                  std::string_view name, int64_t vocab_size);

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes tensors of any device in this order; atomic as safetensors::Writer.
Status WriteTensors(const std::filesystem::path& path,
                    const NamedTensors& tensors);

}  // namespace tributary::model
