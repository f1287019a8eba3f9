#include "common/safetensors/float_convert.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tributary::safetensors {
namespace {

template <typename T>
T LoadAs(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <typename T>
void StoreAs(T value, std::byte* at) {
  std::memcpy(at, &value, sizeof(T));
}

// Loops over whole tensors, compiled for several instruction sets; the best
// one is chosen when the program starts. Sanitizers come up too late for that.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TRIBUTARY_FOR_EACH_PROCESSOR \
  __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TRIBUTARY_FOR_EACH_PROCESSOR
#endif

TRIBUTARY_FOR_EACH_PROCESSOR
void Bf16ToFloats(const std::byte* from, size_t count, float* to) {
  for (size_t i = 0; i < count; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, from + 2 * i, sizeof(bits));
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    std::memcpy(to + i, &wide, sizeof(wide));
  }
}

// More elements than this do not stay in a cache until they are read.
constexpr size_t kStreamedElements = size_t{1} << 20;

#if defined(__x86_64__)
// Whole lines past the cache: memory is written without being read first, which
// would be two thirds again of the traffic. `to` is a multiple of 64 bytes,
// `count` of 32 elements.
void StreamFloats(const std::byte* from, size_t count, float* to) {
  const __m128i zero = _mm_setzero_si128();
  for (size_t i = 0; i < count; i += 8) {
    const __m128i narrow =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i));
    auto* out = reinterpret_cast<__m128i*>(to + i);
    _mm_stream_si128(out, _mm_unpacklo_epi16(zero, narrow));
    _mm_stream_si128(out + 1, _mm_unpackhi_epi16(zero, narrow));
  }
  _mm_sfence();
}

__attribute__((target("avx512f"))) void StreamFloats512(const std::byte* from,
                                                        size_t count,
                                                        float* to) {
  // With masks: GCC 12 warns falsely of the others (its bug 105593).
  constexpr __mmask16 kAll = 0xffff;
  for (size_t i = 0; i < count; i += 16) {
    const __m512i narrow = _mm512_maskz_cvtepu16_epi32(
        kAll,
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 2 * i)));
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i),
                        _mm512_maskz_slli_epi32(kAll, narrow, 16));
  }
  _mm_sfence();
}

// Converts most of a long row and returns how many elements.
size_t StreamMost(const std::byte* from, size_t count, float* to) {
  static const bool wide = __builtin_cpu_supports("avx512f") != 0;
  const size_t before =
      (64 - reinterpret_cast<uintptr_t>(to) % 64) % 64 / sizeof(float);
  Bf16ToFloats(from, before, to);
  const size_t whole = (count - before) / 32 * 32;
  (wide ? StreamFloats512 : StreamFloats)(from + 2 * before, whole,
                                          to + before);
  return before + whole;
}
#else
size_t StreamMost(const std::byte*, size_t, float*) { return 0; }
#endif

Status CheckSizes(DType dtype, size_t elements, size_t bytes) {
  if (!IsFloatingPoint(dtype)) {
    return InvalidArgument("got dtype {}, wanted F64, F32, F16 or BF16",
                           DTypeName(dtype));
  }
  if (elements * DTypeSize(dtype) != bytes) {
    return InvalidArgument("got {} bytes of {} for {} elements, wanted {}",
                           bytes, DTypeName(dtype), elements,
                           elements * DTypeSize(dtype));
  }
  return absl::OkStatus();
}

}  // namespace

// Without branches on the common path, so that loops over it vectorise. The
// exponent is moved by an exact product with a power of two, which also makes
// subnormals normal; infinity and NaN get the fp32 exponent they need.
float Fp16ToFloat(uint16_t bits) {
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const float scaled =
      std::bit_cast<float>(magnitude) * std::bit_cast<float>(0x77800000u);
  const uint32_t special = magnitude >= 0x0f800000 ? 0x7f800000 : 0;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | sign);
}

uint16_t FloatToFp16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  uint32_t half = 0;
  if (magnitude > 0x7f800000) {
    half = 0x7e00 | (magnitude >> 13 & 0x3ff);
  } else if (magnitude >= 0x477ff000) {  // 65520 and up round to infinity
    half = 0x7c00;
  } else if (magnitude < 0x38800000) {  // below 2^-14: subnormal
    // Adding 0.5 leaves the wanted bits, rounded, at the end of the mantissa.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    half = std::bit_cast<uint32_t>(shifted) - 0x3f000000;
  } else {
    half = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  }
  return static_cast<uint16_t>(half | sign);
}

Status ToFloat32(DType dtype, std::span<const std::byte> source,
                 std::span<float> out) {
  RETURN_IF_ERROR(CheckSizes(dtype, out.size(), source.size()));
  const std::byte* from = source.data();
  float* to = out.data();
  const size_t count = out.size();
  switch (dtype) {
    case DType::kBF16: {
      const size_t done =
          count >= kStreamedElements ? StreamMost(from, count, to) : 0;
      Bf16ToFloats(from + 2 * done, count - done, to + done);
      break;
    }
    case DType::kF16:
      for (size_t i = 0; i < count; ++i) {
        to[i] = Fp16ToFloat(LoadAs<uint16_t>(from + 2 * i));
      }
      break;
    case DType::kF64:
      for (size_t i = 0; i < count; ++i) {
        to[i] = static_cast<float>(LoadAs<double>(from + 8 * i));
      }
      break;
    default:
      if (count > 0) {
        std::memcpy(to, from, source.size());
      }
  }
  return absl::OkStatus();
}

Status FromFloat32(std::span<const float> source, DType dtype,
                   std::span<std::byte> out) {
  RETURN_IF_ERROR(CheckSizes(dtype, source.size(), out.size()));
  const float* from = source.data();
  std::byte* to = out.data();
  const size_t count = source.size();
  switch (dtype) {
    case DType::kBF16:
      for (size_t i = 0; i < count; ++i) {
        StoreAs(FloatToBf16(from[i]), to + 2 * i);
      }
      break;
    case DType::kF16:
      for (size_t i = 0; i < count; ++i) {
        StoreAs(FloatToFp16(from[i]), to + 2 * i);
      }
      break;
    case DType::kF64:
      for (size_t i = 0; i < count; ++i) {
        StoreAs(static_cast<double>(from[i]), to + 8 * i);
      }
      break;
    default:
      if (count > 0) {
        std::memcpy(to, from, out.size());
      }
  }
  return absl::OkStatus();
}

}  // namespace tributary::safetensors
