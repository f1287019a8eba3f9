#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tributary::tokenizer {

// The printable stand-ins for bytes that byte-level vocabularies spell tokens
// with: printable Latin-1 stands for itself, the other 68 bytes in ascending
// order for U+0100 and up.

// The stand-in of each byte, as UTF-8.
const std::array<std::string, 256>& ByteLevelAlphabet();

// The bytes that a token spells, or nothing when a character of it is not in
// the alphabet.
std::optional<std::string> ByteLevelDecode(std::string_view token);

// `bytes` with every maximal part that is not UTF-8 replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view bytes);

}  // namespace tributary::tokenizer
