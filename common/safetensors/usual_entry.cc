#include "common/safetensors/usual_entry.h"

#include <bit>
#include <cstdint>
#include <cstring>

namespace tributary::safetensors {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighs = 0x8080808080808080;

// The high bit of a byte is set where it is 0; above the first one there may be
// others too many.
uint64_t ZeroBytes(uint64_t word) { return (word - kOnes) & ~word & kHighs; }

class Cursor {
 public:
  Cursor(const char* at, const char* end) : at_(at), end_(end) {}

  const char* at() const { return at_; }

  template <size_t N>
  bool Literal(const char (&text)[N]) {
    constexpr size_t kSize = N - 1;
    if (static_cast<size_t>(end_ - at_) < kSize ||
        std::memcmp(at_, text, kSize) != 0) {
      return false;
    }
    at_ += kSize;
    return true;
  }

  // At least one digit, no leading zero, below 10^18.
  bool Digits(uint64_t* value) {
    constexpr ptrdiff_t kMaxDigits = 18;
    const char* const begin = at_;
    uint64_t result = 0;
    while (at_ < end_ && static_cast<unsigned char>(*at_ - '0') < 10) {
      result = result * 10 + static_cast<uint64_t>(*at_ - '0');
      ++at_;
    }
    *value = result;
    const ptrdiff_t digits = at_ - begin;
    return digits == 1 || (digits > 1 && digits <= kMaxDigits && *begin != '0');
  }

  // Up to a quote, which is consumed; without escapes and control characters.
  bool Name(std::string_view* name) {
    const char* const begin = at_;
    while (end_ - at_ >= 8) {
      uint64_t word = 0;
      std::memcpy(&word, at_, 8);
      const uint64_t stops = ZeroBytes(word ^ kOnes * '"') |
                             ZeroBytes(word ^ kOnes * '\\') |
                             ((word - kOnes * 0x20) & ~word & kHighs);
      if (stops == 0) {
        at_ += 8;
        continue;
      }
      static_assert(std::endian::native == std::endian::little);
      at_ += std::countr_zero(stops) / 8;
      *name = {begin, static_cast<size_t>(at_ - begin)};
      return *at_++ == '"';
    }
    return false;  // no entry ends within 8 bytes of its name
  }

  bool Type(DType* dtype) {
    if (Literal("BF16\"")) {
      *dtype = DType::kBF16;
    } else if (Literal("F32\"")) {
      *dtype = DType::kF32;
    } else if (Literal("F16\"")) {
      *dtype = DType::kF16;
    } else {
      std::string_view name;
      if (!Name(&name)) {
        return false;
      }
      const auto found = ParseDType(name);
      *dtype = found.value_or(DType::kF32);
      return found.has_value();
    }
    return true;
  }

 private:
  const char* at_;
  const char* const end_;
};

}  // namespace

size_t ParseUsualEntry(std::string_view json, size_t at, size_t max_key_bytes,
                       TensorInfo* tensor) {
  Cursor cursor(json.data() + at, json.data() + json.size());
  std::string_view name;
  if (!cursor.Literal("\"") || !cursor.Name(&name) || name.empty() ||
      name.size() > max_key_bytes || name == "__metadata__" ||
      !cursor.Literal(":{\"dtype\":\"") || !cursor.Type(&tensor->dtype) ||
      !cursor.Literal(",\"shape\":[")) {
    return 0;
  }
  int64_t bytes = static_cast<int64_t>(DTypeSize(tensor->dtype));
  if (!cursor.Literal("]")) {
    do {
      uint64_t size = 0;
      if (!cursor.Digits(&size) ||
          !tensor->shape.push_back(static_cast<int64_t>(size)) ||
          __builtin_mul_overflow(bytes, static_cast<int64_t>(size), &bytes)) {
        return 0;
      }
    } while (cursor.Literal(","));
    if (!cursor.Literal("]")) {
      return 0;
    }
  }
  if (!cursor.Literal(",\"data_offsets\":[") ||
      !cursor.Digits(&tensor->begin) || !cursor.Literal(",") ||
      !cursor.Digits(&tensor->end) || !cursor.Literal("]}") ||
      tensor->end < tensor->begin ||
      tensor->bytes() != static_cast<uint64_t>(bytes)) {
    return 0;
  }
  tensor->name.assign(name);
  return static_cast<size_t>(cursor.at() - json.data());
}

}  // namespace tributary::safetensors
