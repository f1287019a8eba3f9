#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/inference/completion.h"

namespace tributary::coordinator {

// The text of one choice as its tokens come: hands out whole characters only,
// nothing that may still turn out to be the beginning of a stop text, and
// nothing from a stop text on. Bytes that are no UTF-8 become U+FFFD.
class AnswerText {
 public:
  explicit AnswerText(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // Adds what a token of the prompt stands for; no stop text begins there.
  void AddPrompt(std::string_view bytes) { Put(bytes, nullptr); }
  void AddPrompt(TokenScore token);
  // Adds what a made token stands for, empty for a special one. Returns true
  // when the text is complete: a stop text was found.
  bool Add(std::string_view bytes, TokenScore* token);

  // What can be handed out now, or, with everything made, the rest.
  enum class Amount { kSafe, kAll };
  AnswerPiece Take(Amount amount);

 private:
  struct PendingToken {
    TokenScore token;
    size_t begin = 0;  // in bytes_
  };
  void Put(std::string_view bytes, TokenScore* token);
  // Bytes at the end that may begin a stop text.
  size_t HeldBack() const;
  // The end of the whole characters in bytes_[0, end).
  size_t WholeCharacters(size_t end) const;
  int64_t CharactersBefore(size_t position);

  const std::vector<std::string> stop_;
  std::string bytes_;
  // Behind the prompt; nothing was made before it is set.
  std::optional<size_t> answer_begin_;
  size_t taken_ = 0;
  std::vector<PendingToken> tokens_;  // in order
  // Characters in bytes_[0, counted_to_).
  size_t counted_to_ = 0;
  int64_t counted_ = 0;
};

}  // namespace tributary::coordinator
