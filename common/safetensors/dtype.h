#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace tributary::safetensors {

// The element types that a file may hold.
enum class DType {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
};

// The name in a file's header: "F32", "BF16", ..., "BOOL".
std::string_view DTypeName(DType dtype);

// Bytes per element.
size_t DTypeSize(DType dtype);

// The type of that name, or nothing.
std::optional<DType> ParseDType(std::string_view name);

// True for F64, F32, F16 and BF16.
bool IsFloatingPoint(DType dtype);

}  // namespace tributary::safetensors
