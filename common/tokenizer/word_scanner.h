#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace tributary::tokenizer {

// Hand-written equivalents of the patterns that most byte-level tokenizers cut
// text with. Every text is cut without a rest.
enum class WordPattern {
  kGpt2,    // GPT-2, SmolLM, OLMo 1: contractions, letters, numbers, others
  kCl100k,  // cl100k, Llama 3, OLMo 2: numbers of at most three digits
  kQwen2,   // as cl100k with single digits
};

// The pattern that `regex` is the exact text of, or nothing.
std::optional<WordPattern> FindWordPattern(std::string_view regex);

// The GPT-2 pattern, which byte-level pre-tokenizers imply.
std::string_view Gpt2Regex();

// The end of the word that begins at `at` < text.size(). `text` is UTF-8.
size_t WordEnd(WordPattern pattern, std::string_view text, size_t at);

}  // namespace tributary::tokenizer
