#include "common/tokenizer/byte_level.h"

#include <algorithm>
#include <unordered_map>

#include "common/base/text.h"
#include "common/tokenizer/unicode_class.h"

namespace tributary::tokenizer {
namespace {

bool StandsForItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
         byte >= 0xae;
}

std::array<uint32_t, 256> CodePoints() {
  std::array<uint32_t, 256> codes = {};
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    codes[byte] = StandsForItself(byte) ? byte : next++;
  }
  return codes;
}

// How many bytes of `text` form the longest prefix of a well-formed sequence:
// what one U+FFFD replaces.
size_t InvalidLength(std::string_view text) {
  // A prefix is one when some continuation bytes complete it.
  for (size_t length = std::min<size_t>(3, text.size()); length > 1; --length) {
    for (const char second : {'\x80', '\x90', '\xa0', '\xbf'}) {
      std::string whole(text.substr(0, length));
      while (whole.size() < 4) {
        whole.push_back(second);
        if (!FirstInvalidUtf8(whole)) {
          return length;
        }
      }
    }
  }
  return 1;
}

}  // namespace

const std::array<std::string, 256>& ByteLevelAlphabet() {
  static const auto alphabet = [] {
    std::array<std::string, 256> result;
    const auto codes = CodePoints();
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t code = codes[byte];
      if (code < 0x80) {
        result[byte] = std::string(1, static_cast<char>(code));
      } else {
        result[byte] = {static_cast<char>(0xc0 | code >> 6),
                        static_cast<char>(0x80 | (code & 0x3f))};
      }
    }
    return result;
  }();
  return alphabet;
}

std::optional<std::string> ByteLevelDecode(std::string_view token) {
  static const auto bytes = [] {
    std::unordered_map<uint32_t, char> result;
    const auto codes = CodePoints();
    for (size_t byte = 0; byte < 256; ++byte) {
      result.emplace(codes[byte], static_cast<char>(byte));
    }
    return result;
  }();
  std::string decoded;
  for (size_t at = 0; at < token.size();) {
    const CodePoint point = DecodeAt(token, at);
    const auto found = bytes.find(point.value);
    if (found == bytes.end()) {
      return std::nullopt;
    }
    decoded.push_back(found->second);
    at += point.bytes;
  }
  return decoded;
}

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  std::string result;
  while (const auto invalid = FirstInvalidUtf8(bytes)) {
    result.append(bytes.substr(0, *invalid));
    result.append("\xef\xbf\xbd");
    bytes.remove_prefix(*invalid);
    bytes.remove_prefix(InvalidLength(bytes));
  }
  result.append(bytes);
  return result;
}

}  // namespace tributary::tokenizer
