#include "contributor/calibration/tensor_file.h"

#include <optional>

#include "common/safetensors/writer.h"
#include "fmt/ranges.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using safetensors::DType;

constexpr std::pair<DType, at::ScalarType> kTypes[] = {
    {DType::kF64, at::kDouble}, {DType::kF32, at::kFloat},
    {DType::kF16, at::kHalf},   {DType::kBF16, at::kBFloat16},
    {DType::kI64, at::kLong},   {DType::kI32, at::kInt},
    {DType::kI16, at::kShort},  {DType::kU8, at::kByte},
};

std::optional<at::ScalarType> ScalarTypeOf(DType dtype) {
  for (const auto& [file, memory] : kTypes) {
    if (file == dtype) {
      return memory;
    }
  }
  return std::nullopt;
}

std::optional<DType> DTypeOf(at::ScalarType type) {
  for (const auto& [file, memory] : kTypes) {
    if (memory == type) {
      return file;
    }
  }
  return std::nullopt;
}

}  // namespace

StatusOr<std::shared_ptr<const safetensors::File>> OpenTensorFile(
    const std::filesystem::path& path) {
  return safetensors::File::Open(
      path, {.limits = safetensors::HeaderLimits::ForModel()});
}

StatusOr<Tensor> MapTensor(const std::shared_ptr<const safetensors::File>& file,
                           std::string_view name) {
  const safetensors::TensorInfo* info = file->Find(name);
  if (info == nullptr) {
    return NotFound("{}: no tensor {}; was the file made by another stage?",
                    file->path().string(), name);
  }
  const auto type = ScalarTypeOf(info->dtype);
  if (!type) {
    return InvalidArgument("{}: tensor {} has the unsupported type {}",
                           file->path().string(), name,
                           safetensors::DTypeName(info->dtype));
  }
  const auto bytes = file->Bytes(*info);
  auto* data = const_cast<std::byte*>(bytes.data());
  const auto sizes = info->shape.ToVector();
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(*type) != 0) {
    Tensor copy = at::empty(sizes, *type);
    std::copy(bytes.begin(), bytes.end(),
              static_cast<std::byte*>(copy.mutable_data_ptr()));
    return copy;
  }
  return at::from_blob(
      data, sizes, [file](void*) {}, at::TensorOptions(*type));
}

StatusOr<Tensor> MapFloats(const std::shared_ptr<const safetensors::File>& file,
                           std::string_view name,
                           const std::vector<int64_t>& sizes) {
  ASSIGN_OR_RETURN(const Tensor tensor, MapTensor(file, name));
  bool fits = tensor.dim() == static_cast<int64_t>(sizes.size()) &&
              tensor.is_floating_point();
  for (size_t i = 0; fits && i < sizes.size(); ++i) {
    fits = sizes[i] < 0 || tensor.size(i) == sizes[i];
  }
  if (!fits) {
    return InvalidArgument(
        "{}: tensor {}: got {} [{}], wanted floating point [{}] (-1: any)",
        file->path().string(), name, c10::toString(tensor.scalar_type()),
        fmt::join(tensor.sizes(), ", "), fmt::join(sizes, ", "));
  }
  return tensor.to(at::kFloat);
}

StatusOr<Tensor> ReadTokenIds(
    const std::shared_ptr<const safetensors::File>& file, std::string_view name,
    int64_t vocab_size) {
  ASSIGN_OR_RETURN(const Tensor stored, MapTensor(file, name));
  if (stored.dim() != 2 || stored.size(0) < 1 || stored.size(1) < 2 ||
      (stored.scalar_type() != at::kInt && stored.scalar_type() != at::kLong)) {
    return InvalidArgument(
        "{}: tensor {}: got {} [{}], wanted int32 or int64 [windows, tokens] "
        "with at least 2 tokens",
        file->path().string(), name, c10::toString(stored.scalar_type()),
        fmt::join(stored.sizes(), ", "));
  }
  const Tensor ids = stored.to(at::kLong, false, /*copy=*/true);
  const int64_t lowest = ids.min().item<int64_t>();
  const int64_t highest = ids.max().item<int64_t>();
  if (lowest < 0 || highest >= vocab_size) {
    return InvalidArgument(
        "{}: tensor {} holds token {}, the model's vocabulary has {} tokens; "
        "prepare the text with this model's tokenizer",
        file->path().string(), name, lowest < 0 ? lowest : highest, vocab_size);
  }
  return ids;
}

Status WriteTensors(const std::filesystem::path& path,
                    const NamedTensors& tensors,
                    const std::map<std::string, std::string>& metadata) {
  std::vector<Tensor> kept;
  std::vector<safetensors::TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    const auto dtype = DTypeOf(tensor.scalar_type());
    if (!dtype) {
      return Internal("{}: tensor {} has the type {}", path.string(), name,
                      c10::toString(tensor.scalar_type()));
    }
    kept.push_back(tensor.detach().cpu().contiguous());
    const Tensor& data = kept.back();
    views.push_back({{name, *dtype,
                      safetensors::Shape(std::span<const int64_t>(
                          data.sizes().data(), data.sizes().size()))},
                     {static_cast<const std::byte*>(data.const_data_ptr()),
                      data.nbytes()}});
  }
  return safetensors::WriteFile(path, views, {.metadata = metadata});
}

}  // namespace tributary::contributor
