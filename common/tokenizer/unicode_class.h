#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tributary::tokenizer {

// Classes of code points, as bits.
enum CodePointClass : uint8_t {
  kLetter = 1,    // \p{L} in patterns
  kNumber = 2,    // \p{N} in patterns
  kSpace = 4,     // \s
  kNumeric = 8,   // what the Digits splitter isolates
  kWordChar = 16  // what a single-word token must not touch
};

// The classes of every code point, by code point: 0x110000 entries.
const uint8_t* CodePointClasses();

struct CodePoint {
  uint32_t value = 0;
  size_t bytes = 0;
};

// The code point at `at`, which is the start of one; `text` is valid UTF-8.
inline CodePoint DecodeAt(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const uint32_t first = byte(0);
  if (first < 0x80) {
    return {first, 1};
  }
  if (first < 0xe0) {
    return {(first & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  }
  if (first < 0xf0) {
    return {(first & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
  }
  return {(first & 0x07) << 18 | (byte(1) & 0x3f) << 12 |
              (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f),
          4};
}

// The start of the code point that ends before `at`, which is not 0.
inline size_t StartBefore(std::string_view text, size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  return at;
}

}  // namespace tributary::tokenizer
