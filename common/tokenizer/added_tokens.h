#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "common/tokenizer/tokenizer.h"

namespace tributary::tokenizer {

// Finds added tokens in text: of those that begin leftmost, the longest.
class AddedTokenMatcher {
 public:
  // Takes the tokens whose `normalized` flag is the given one.
  enum class Phase { kRaw, kNormalized };
  AddedTokenMatcher(const std::vector<AddedToken>& tokens, Phase phase);

  // A stretch of text that became a token, or is to be encoded (id -1).
  struct Piece {
    std::string_view text;
    int32_t id = -1;
  };

  // Cuts `text` at the tokens in it; empty pieces are left out.
  std::vector<Piece> Split(std::string_view text,
                           EncodeOptions::SpecialText special_text) const;

  bool empty() const { return tokens_.empty(); }

 private:
  struct Node {
    std::vector<std::pair<char, uint32_t>> next;
    int32_t token = -1;  // index into tokens_
  };
  // The longest token that begins at `at`, as an index, or -1.
  int32_t LongestAt(std::string_view text, size_t at) const;
  bool IsOwnWord(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> first_ = {};
};

}  // namespace tributary::tokenizer
