#include "common/crypto/base64.h"

#include <array>
#include <cstdint>

namespace tributary::crypto {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> MakeValues() {
  std::array<int8_t, 256> values{};
  for (auto& value : values) {
    value = -1;
  }
  for (size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
  }
  return values;
}
constexpr std::array<int8_t, 256> kValues = MakeValues();

int HexValue(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return -1;
}

}  // namespace

std::string EncodeBase64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = bytes.size() - i < 3 ? bytes.size() - i : 3;
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group <<= 8;
      group |= j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u;
    }
    for (size_t j = 0; j < 4; ++j) {
      text += j <= count ? kAlphabet[(group >> (18 - 6 * j)) & 63] : '=';
    }
  }
  return text;
}

StatusOr<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0) {
    return InvalidArgument("base64: got {} characters, wanted a multiple of 4",
                           text.size());
  }
  size_t padding = 0;
  while (padding < 2 && padding < text.size() &&
         text[text.size() - 1 - padding] == '=') {
    ++padding;
  }
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    const size_t digits = i + 4 == text.size() ? 4 - padding : 4;
    uint32_t group = 0;
    for (size_t j = 0; j < 4; ++j) {
      const int value =
          j < digits ? kValues[static_cast<unsigned char>(text[i + j])] : 0;
      if (value < 0) {
        return InvalidArgument("base64: unexpected character at {}", i + j);
      }
      group = group << 6 | static_cast<uint32_t>(value);
    }
    if ((digits == 2 && (group & 0xffff) != 0) ||
        (digits == 3 && (group & 0xff) != 0)) {
      return InvalidArgument("base64: the unused bits at the end are not zero");
    }
    for (size_t j = 0; j + 1 < digits; ++j) {
      bytes += static_cast<char>(group >> (16 - 8 * j) & 0xff);
    }
  }
  return bytes;
}

StatusOr<std::string> DecodeHex(std::string_view text) {
  if (text.size() % 2 != 0) {
    return InvalidArgument("hexadecimal: got {} digits, wanted an even number",
                           text.size());
  }
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = HexValue(text[i]);
    const int low = HexValue(text[i + 1]);
    if (high < 0 || low < 0) {
      return InvalidArgument("hexadecimal: unexpected character at {}",
                             high < 0 ? i : i + 1);
    }
    bytes += static_cast<char>(high << 4 | low);
  }
  return bytes;
}

}  // namespace tributary::crypto
