#include "common/safetensors/float_convert.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace tributary::safetensors {
namespace {

// The value of an fp16 by its definition.
double Fp16ByDefinition(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) {
    return mantissa != 0 ? std::nan("") : sign * INFINITY;
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(FloatConvert, EveryFp16) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const double wanted = Fp16ByDefinition(bits);
    const float got = Fp16ToFloat(bits);
    if (std::isnan(wanted)) {
      EXPECT_TRUE(std::isnan(got));
      EXPECT_TRUE(std::isnan(Fp16ToFloat(FloatToFp16(got))));
      continue;
    }
    EXPECT_EQ(static_cast<double>(got), wanted);
    EXPECT_EQ(std::signbit(got), std::signbit(wanted));
    EXPECT_EQ(FloatToFp16(got), bits);
  }
}

TEST(FloatConvert, EveryBf16) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = Bf16ToFloat(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(value))));
    } else {
      EXPECT_EQ(FloatToBf16(value), bits);
    }
  }
}

TEST(FloatConvert, RoundsToNearestEven) {
  // Halfway between two neighbours goes to the even one, anything more up.
  for (uint32_t i = 0; i < 0x7c00 - 1; ++i) {
    const auto low = static_cast<uint16_t>(i);
    const auto high = static_cast<uint16_t>(i + 1);
    const float half = 0.5f * (Fp16ToFloat(low) + Fp16ToFloat(high));
    EXPECT_EQ(FloatToFp16(half), low & 1 ? high : low);
    EXPECT_EQ(FloatToFp16(std::nextafter(half, INFINITY)), high);
    EXPECT_EQ(FloatToFp16(std::nextafter(half, 0.0f)), low);
    EXPECT_EQ(FloatToFp16(-half), 0x8000 | (low & 1 ? high : low));
  }
  for (uint32_t i = 0x0080; i < 0x7f7f; ++i) {
    const float half = std::bit_cast<float>((i << 16) + 0x8000);
    EXPECT_EQ(FloatToBf16(half), i & 1 ? i + 1 : i);
    EXPECT_EQ(FloatToBf16(std::nextafter(half, INFINITY)), i + 1);
    EXPECT_EQ(FloatToBf16(std::nextafter(half, 0.0f)), i);
  }
}

TEST(FloatConvert, TooLargeIsInfinite) {
  EXPECT_EQ(FloatToFp16(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToFp16(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToFp16(1e30f), 0x7c00);
  EXPECT_EQ(FloatToFp16(-INFINITY), 0xfc00);
  EXPECT_EQ(FloatToBf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(FloatToBf16(INFINITY), 0x7f80);
}

TEST(FloatConvert, SpansMayBeUnaligned) {
  const std::vector<float> values = {0.0f, -1.5f, 3.25f, 1e-3f, -70000.0f};
  for (const DType dtype :
       {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<std::byte> storage(values.size() * DTypeSize(dtype) + 1);
    const std::span<std::byte> bytes = std::span(storage).subspan(1);
    ASSERT_TRUE(FromFloat32(values, dtype, bytes).ok());
    std::vector<float> back(values.size());
    ASSERT_TRUE(ToFloat32(dtype, bytes, back).ok());
    for (size_t i = 0; i < values.size(); ++i) {
      const float wanted =
          dtype == DType::kBF16  ? Bf16ToFloat(FloatToBf16(values[i]))
          : dtype == DType::kF16 ? Fp16ToFloat(FloatToFp16(values[i]))
                                 : values[i];
      EXPECT_EQ(back[i], wanted);
    }
  }
}

TEST(FloatConvert, RefusesOtherTypesAndSizes) {
  std::vector<float> values(2);
  std::vector<std::byte> bytes(8);
  EXPECT_FALSE(ToFloat32(DType::kI32, bytes, values).ok());
  EXPECT_FALSE(ToFloat32(DType::kF16, bytes, values).ok());
  EXPECT_FALSE(FromFloat32(values, DType::kBF16, bytes).ok());
  EXPECT_FALSE(FromFloat32(values, DType::kBool, bytes).ok());
}

}  // namespace
}  // namespace tributary::safetensors
