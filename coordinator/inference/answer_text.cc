#include "coordinator/inference/answer_text.h"

#include <algorithm>

#include "common/tokenizer/byte_level.h"

namespace tributary::coordinator {
namespace {

bool IsContinuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

// Bytes that the character has which `lead` begins.
size_t CharacterLength(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
}

}  // namespace

void AnswerText::Put(std::string_view bytes, TokenScore* token) {
  if (token != nullptr) {
    tokens_.push_back({std::move(*token), bytes_.size()});
  }
  bytes_ += bytes;
}

void AnswerText::AddPrompt(TokenScore token) {
  const std::string bytes = token.text;
  Put(bytes, &token);
}

bool AnswerText::Add(std::string_view bytes, TokenScore* token) {
  const size_t before = bytes_.size();
  if (!answer_begin_) {
    answer_begin_ = before;
  }
  Put(bytes, token);
  size_t cut = std::string::npos;
  for (const std::string& stop : stop_) {
    const size_t longest = stop.size() - 1;
    const size_t from =
        std::max(*answer_begin_, before > longest ? before - longest : 0);
    cut = std::min(cut, bytes_.find(stop, from));
  }
  if (cut == std::string::npos) {
    return false;
  }
  bytes_.resize(cut);
  std::erase_if(tokens_, [&](const PendingToken& pending) {
    return pending.begin >= std::max(cut, *answer_begin_);
  });
  return true;
}

size_t AnswerText::HeldBack() const {
  size_t held = 0;
  if (!answer_begin_) {
    return 0;
  }
  for (const std::string& stop : stop_) {
    const size_t longest =
        std::min(stop.size() - 1, bytes_.size() - *answer_begin_);
    for (size_t length = longest; length > held; --length) {
      if (std::string_view(bytes_).ends_with(
              std::string_view(stop).substr(0, length))) {
        held = length;
      }
    }
  }
  return held;
}

size_t AnswerText::WholeCharacters(size_t end) const {
  size_t lead = end;
  while (lead > taken_ && end - lead < 4) {
    --lead;
    if (!IsContinuation(bytes_[lead])) {
      return lead + CharacterLength(bytes_[lead]) > end ? lead : end;
    }
  }
  return end;
}

int64_t AnswerText::CharactersBefore(size_t position) {
  for (; counted_to_ < position; ++counted_to_) {
    counted_ += IsContinuation(bytes_[counted_to_]) ? 0 : 1;
  }
  return counted_;
}

AnswerPiece AnswerText::Take(Amount amount) {
  const bool all = amount == Amount::kAll;
  size_t end = bytes_.size();
  if (!all) {
    end = std::max(taken_, WholeCharacters(end - HeldBack()));
  }
  AnswerPiece piece;
  piece.text = tokenizer::ReplaceInvalidUtf8(
      std::string_view(bytes_).substr(taken_, end - taken_));
  taken_ = end;
  size_t ready = 0;
  while (ready < tokens_.size() && (all || tokens_[ready].begin < end)) {
    PendingToken& pending = tokens_[ready++];
    pending.token.text_offset = CharactersBefore(pending.begin);
    piece.tokens.push_back(std::move(pending.token));
  }
  tokens_.erase(tokens_.begin(),
                tokens_.begin() + static_cast<std::ptrdiff_t>(ready));
  return piece;
}

}  // namespace tributary::coordinator
