#pragma once

// Conversions between fp32 and the 16-bit formats. To narrow is to round to
// nearest, ties to even; NaN stays NaN, what is too large becomes infinite.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/status.h"
#include "common/safetensors/dtype.h"

namespace tributary::safetensors {

inline float Bf16ToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t quiet_nan = (bits >> 16) | 0x40;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan
                                                                : rounded);
}

float Fp16ToFloat(uint16_t bits);
uint16_t FloatToFp16(float value);

// Elements of F64, F32, F16 or BF16 to fp32; `source` may be unaligned.
// INVALID_ARGUMENT for another dtype or sizes that do not fit each other.
Status ToFloat32(DType dtype, std::span<const std::byte> source,
                 std::span<float> out);

// fp32 to elements of F64, F32, F16 or BF16; `out` may be unaligned. Errors as
// above.
Status FromFloat32(std::span<const float> source, DType dtype,
                   std::span<std::byte> out);

}  // namespace tributary::safetensors
