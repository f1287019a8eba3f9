#include "common/tokenizer/added_tokens.h"

#include <algorithm>

#include "common/tokenizer/unicode_class.h"

namespace tributary::tokenizer {

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens,
                                     Phase phase) {
  nodes_.emplace_back();
  for (const AddedToken& token : tokens) {
    if (token.normalized != (phase == Phase::kNormalized) ||
        token.content.empty()) {
      continue;
    }
    uint32_t node = 0;
    for (const char c : token.content) {
      auto& next = nodes_[node].next;
      const auto found =
          std::find_if(next.begin(), next.end(),
                       [c](const auto& edge) { return edge.first == c; });
      if (found != next.end()) {
        node = found->second;
        continue;
      }
      const auto fresh = static_cast<uint32_t>(nodes_.size());
      next.emplace_back(c, fresh);
      nodes_.emplace_back();
      node = fresh;
    }
    nodes_[node].token = static_cast<int32_t>(tokens_.size());
    first_[static_cast<unsigned char>(token.content[0])] = true;
    tokens_.push_back(token);
  }
}

int32_t AddedTokenMatcher::LongestAt(std::string_view text, size_t at) const {
  int32_t longest = -1;
  const Node* node = &nodes_[0];
  for (; at < text.size(); ++at) {
    const auto found = std::find_if(
        node->next.begin(), node->next.end(),
        [c = text[at]](const auto& edge) { return edge.first == c; });
    if (found == node->next.end()) {
      break;
    }
    node = &nodes_[found->second];
    if (node->token >= 0) {
      longest = node->token;
    }
  }
  return longest;
}

bool AddedTokenMatcher::IsOwnWord(std::string_view text, size_t begin,
                                  size_t end) const {
  const auto is_word = [&](size_t at) {
    return (CodePointClasses()[DecodeAt(text, at).value] & kWordChar) != 0;
  };
  return (begin == 0 || !is_word(StartBefore(text, begin))) &&
         (end == text.size() || !is_word(end));
}

std::vector<AddedTokenMatcher::Piece> AddedTokenMatcher::Split(
    std::string_view text, EncodeOptions::SpecialText special_text) const {
  std::vector<Piece> pieces;
  const auto is_space = [&](size_t at) {
    return (CodePointClasses()[DecodeAt(text, at).value] & kSpace) != 0;
  };
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const int32_t index =
        first_[static_cast<unsigned char>(text[at])] ? LongestAt(text, at) : -1;
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at;
    size_t end = at + token.content.size();
    at = end;
    if ((token.special && special_text == EncodeOptions::SpecialText::kText) ||
        (token.single_word && !IsOwnWord(text, begin, end))) {
      continue;
    }
    if (token.lstrip) {
      // Whitespace that an earlier token took is not there any more.
      while (begin > done && is_space(StartBefore(text, begin))) {
        begin = StartBefore(text, begin);
      }
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      while (end < text.size() && is_space(end)) {
        end += DecodeAt(text, end).bytes;
      }
    }
    if (begin > done) {
      pieces.push_back({text.substr(done, begin - done), -1});
    }
    pieces.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) {
    pieces.push_back({text.substr(done), -1});
  }
  return pieces;
}

}  // namespace tributary::tokenizer
