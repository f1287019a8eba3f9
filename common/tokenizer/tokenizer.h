#pragma once

// Byte-level BPE as a Hugging Face tokenizer.json describes it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tributary::tokenizer {

// A token that is matched in the text before anything else happens to it.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // left out by DecodeOptions::Special::kSkip
  bool single_word = false;  // only where no word character is next to it
  bool lstrip = false;       // takes the whitespace on its left with it
  bool rstrip = false;       // takes the whitespace on its right with it
  bool normalized = false;   // matched in the normalised text
};

struct EncodeOptions {
  // Whether the tokens of the file's post-processor (begin and end of text)
  // are put around the ids.
  enum class Template { kNone, kApply } special_tokens = Template::kNone;
  // Whether added tokens that are marked special are found in the text. kText
  // encodes "<|endoftext|>" in a document like any other text.
  enum class SpecialText { kMatch, kText } special_text = SpecialText::kMatch;
};

struct DecodeOptions {
  enum class Special { kKeep, kSkip } special = Special::kKeep;
};

// Immutable and thread-safe.
class Tokenizer {
 public:
  // Reads a tokenizer.json. NOT_FOUND when there is none, INVALID_ARGUMENT when
  // it is not a tokenizer, UNIMPLEMENTED naming the component that is not
  // supported.
  static StatusOr<std::unique_ptr<Tokenizer>> Load(
      const std::filesystem::path& path);
  static StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view json);

  ~Tokenizer();

  // The ids of `text`. INVALID_ARGUMENT with the byte offset when it is not
  // UTF-8.
  StatusOr<std::vector<int32_t>> Encode(
      std::string_view text, const EncodeOptions& options = {}) const;

  // The text of `ids`; bytes that are not UTF-8 (a character cut in two) become
  // U+FFFD. INVALID_ARGUMENT for an id that is not in the vocabulary.
  StatusOr<std::string> Decode(std::span<const int32_t> ids,
                               const DecodeOptions& options = {}) const;

  // The bytes of one token, not necessarily whole characters: for output token
  // by token. INVALID_ARGUMENT for an unknown id.
  StatusOr<std::string> TokenBytes(int32_t id) const;

  // One more than the largest id.
  int32_t vocab_size() const;
  // The id of a token spelt as in tokenizer.json ("Ġthe", "<|endoftext|>").
  std::optional<int32_t> TokenToId(std::string_view token) const;
  // The token as spelt in tokenizer.json.
  std::optional<std::string> IdToToken(int32_t id) const;
  // All added tokens by ascending id.
  const std::vector<AddedToken>& added_tokens() const;
  bool IsSpecial(int32_t id) const;

  class Impl;

 private:
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace tributary::tokenizer
