#include "common/model/tensor_io.h"

#include <atomic>
#include <cstring>
#include <span>

#include "common/kernels/parallel.h"
#include "common/model/errors.h"
#include "common/safetensors/float_convert.h"
#include "common/safetensors/writer.h"

namespace tributary::model {
namespace {

using at::Tensor;
using safetensors::DType;
using safetensors::File;
using safetensors::TensorInfo;

constexpr int64_t kGrainElements = 1 << 16;

// Runs `body(begin, end)` on pieces of a range of bytes.
template <typename Body>
void InPieces(int64_t elements, const Body& body) {
  kernels::ParallelFor(0, elements, kGrainElements, body);
}

Status ConvertToFloat(const File& file, const TensorInfo& info, float* to) {
  std::atomic<bool> failed = false;
  InPieces(info.elements(), [&](int64_t begin, int64_t end) {
    const Status status = file.ToFloats(
        info, static_cast<uint64_t>(begin),
        std::span<float>(to + begin, static_cast<size_t>(end - begin)));
    if (!status.ok()) {
      failed = true;
    }
  });
  if (failed) {
    return InvalidArgument("tensor \"{}\": got dtype {}, wanted floating point",
                           info.name, safetensors::DTypeName(info.dtype));
  }
  return absl::OkStatus();
}

}  // namespace

at::ScalarType ToScalarType(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return at::kDouble;
    case DType::kF32:
      return at::kFloat;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kI64:
      return at::kLong;
    case DType::kI32:
      return at::kInt;
    case DType::kI16:
      return at::kShort;
    case DType::kI8:
      return at::kChar;
    case DType::kU8:
      return at::kByte;
    case DType::kBool:
      break;
  }
  return at::kBool;
}

StatusOr<DType> FromScalarType(at::ScalarType type) {
  for (const DType dtype :
       {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
        DType::kI32, DType::kI16, DType::kI8, DType::kU8, DType::kBool}) {
    if (ToScalarType(dtype) == type) {
      return dtype;
    }
  }
  return InvalidArgument("elements of type {} cannot be stored",
                         c10::toString(type));
}

StatusOr<Tensor> ReadTensor(const File& file, const TensorInfo& info,
                            std::optional<at::ScalarType> dtype) {
  return CatchTorch([&]() -> StatusOr<Tensor> {
    const std::vector<int64_t> shape = info.shape.ToVector();
    const std::span<const std::byte> bytes = file.Bytes(info);
    const bool floating = safetensors::IsFloatingPoint(info.dtype);
    const at::ScalarType stored = ToScalarType(info.dtype);
    if (floating && dtype.has_value() && *dtype != stored) {
      Tensor out = at::empty(shape, at::kFloat);
      RETURN_IF_ERROR(
          ConvertToFloat(file, info, out.mutable_data_ptr<float>()));
      return out.to(*dtype);
    }
    Tensor out = at::empty(shape, stored);
    auto* to = static_cast<std::byte*>(out.mutable_data_ptr());
    InPieces(static_cast<int64_t>(bytes.size()),
             [&](int64_t begin, int64_t end) {
               std::memcpy(to + begin, bytes.data() + begin,
                           static_cast<size_t>(end - begin));
             });
    return out;
  });
}

StatusOr<Tensor> ReadTensor(const File& file, std::string_view name,
                            std::optional<at::ScalarType> dtype) {
  const TensorInfo* info = file.Find(name);
  if (info == nullptr) {
    return NotFound("{}: has no tensor \"{}\"", file.path().string(), name);
  }
  return ReadTensor(file, *info, dtype);
}

StatusOr<Tensor> ReadTokenIds(const File& file, std::string_view name,
                              int64_t vocab_size) {
  ASSIGN_OR_RETURN(const Tensor ids, ReadTensor(file, name));
  if ((ids.scalar_type() != at::kLong && ids.scalar_type() != at::kInt) ||
      ids.dim() != 2) {
    return InvalidArgument(
        "{}: \"{}\" is {} with {} dimensions, wanted I64 or I32 [B, S]",
        file.path().string(), name, c10::toString(ids.scalar_type()),
        ids.dim());
  }
  return CatchTorch([&]() -> StatusOr<Tensor> {
    Tensor wide = ids.to(at::kLong);
    if (wide.numel() > 0) {
      const auto [low, high] = at::aminmax(wide);
      if (low.item<int64_t>() < 0 || high.item<int64_t>() >= vocab_size) {
        return InvalidArgument(
            "{}: \"{}\" has ids from {} to {}, wanted 0 to {}: it was made "
            "with another tokenizer",
            file.path().string(), name, low.item<int64_t>(),
            high.item<int64_t>(), vocab_size - 1);
      }
    }
    return wide;
  });
}

Status WriteTensors(const std::filesystem::path& path,
                    const NamedTensors& tensors) {
  return CatchTorch([&]() -> Status {
    std::vector<safetensors::TensorView> views;
    std::vector<Tensor> kept;
    for (const auto& [name, tensor] : tensors) {
      kept.push_back(tensor.detach().to(at::kCPU).contiguous());
      const Tensor& host = kept.back();
      ASSIGN_OR_RETURN(const DType dtype, FromScalarType(host.scalar_type()));
      const auto shape = safetensors::Shape::FromSpan(
          std::span<const int64_t>(host.sizes().data(), host.sizes().size()));
      if (!shape.has_value()) {
        return InvalidArgument("tensor \"{}\" has {} dimensions", name,
                               host.dim());
      }
      views.push_back(
          {.spec = {.name = name, .dtype = dtype, .shape = *shape},
           .bytes = {static_cast<const std::byte*>(host.const_data_ptr()),
                     host.nbytes()}});
    }
    return safetensors::WriteFile(path, views);
  });
}

}  // namespace tributary::model
