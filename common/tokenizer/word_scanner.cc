#include "common/tokenizer/word_scanner.h"

#include <cstdint>

#include "common/tokenizer/unicode_class.h"

namespace tributary::tokenizer {
namespace {

constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)"
    R"(|\s+(?!\S)|\s+)";
constexpr std::string_view kCl100kRegex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr uint8_t kClassMask = kLetter | kNumber | kSpace;
constexpr uint8_t kOther = 0;
constexpr uint8_t kEnd = 0xff;  // behind the text
constexpr uint32_t kLongS = 0x17f;

class Scanner {
 public:
  explicit Scanner(std::string_view text)
      : text_(text), classes_(CodePointClasses()) {}

  // The class of the code point at `at`, and its length.
  uint8_t ClassAt(size_t at, size_t* bytes) const {
    if (at >= text_.size()) {
      return kEnd;
    }
    const CodePoint point = DecodeAt(text_, at);
    *bytes = point.bytes;
    return classes_[point.value] & kClassMask;
  }

  // The end of the run of code points of class `wanted` from `at` on.
  size_t RunEnd(size_t at, uint8_t wanted) const {
    size_t bytes = 0;
    while (ClassAt(at, &bytes) == wanted) {
      at += bytes;
    }
    return at;
  }

  // The end of a contraction at `at`, or `at` when there is none.
  size_t GptContraction(size_t at) const {
    if (text_[at] != '\'') {
      return at;
    }
    return ContractionEnd(at, Letter(at + 1), Letter(at + 2));
  }

  size_t FoldedContraction(size_t at) const {
    if (text_[at] != '\'') {
      return at;
    }
    // Case folding also takes U+017F for s.
    if (at + 2 < text_.size() && DecodeAt(text_, at + 1).value == kLongS) {
      return at + 3;
    }
    return ContractionEnd(at, Folded(at + 1), Folded(at + 2));
  }

  // \s+(?!\S)|\s+ at a whitespace character.
  size_t SpacesEnd(size_t at) const {
    const size_t end = RunEnd(at, kSpace);
    if (end == text_.size()) {
      return end;
    }
    const size_t last = StartBefore(text_, end);
    return last > at ? last : end;
  }

  size_t NewlinesEnd(size_t at) const {
    while (at < text_.size() && IsNewline(text_[at])) {
      ++at;
    }
    return at;
  }

  static bool IsNewline(char c) { return c == '\r' || c == '\n'; }

 private:
  char Letter(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }
  char Folded(size_t at) const {
    const char c = Letter(at);
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }

  static size_t ContractionEnd(size_t at, char first, char second) {
    switch (first) {
      case 's':
      case 't':
      case 'm':
      case 'd':
        return at + 2;
      case 'r':
      case 'v':
        return second == 'e' ? at + 3 : at;
      case 'l':
        return second == 'l' ? at + 3 : at;
      default:
        return at;
    }
  }

  const std::string_view text_;
  const uint8_t* const classes_;
};

size_t Gpt2End(std::string_view text, size_t at) {
  const Scanner scan(text);
  const size_t contraction = scan.GptContraction(at);
  if (contraction != at) {
    return contraction;
  }
  size_t bytes = 0;
  size_t next_bytes = 0;
  const uint8_t first = scan.ClassAt(at, &bytes);
  if (first != kSpace) {
    return scan.RunEnd(at + bytes, first);
  }
  if (text[at] == ' ') {
    const uint8_t next = scan.ClassAt(at + 1, &next_bytes);
    if (next != kSpace && next != kEnd) {
      return scan.RunEnd(at + 1 + next_bytes, next);
    }
  }
  return scan.SpacesEnd(at);
}

size_t Cl100kEnd(std::string_view text, size_t at, int max_digits) {
  const Scanner scan(text);
  const size_t contraction = scan.FoldedContraction(at);
  if (contraction != at) {
    return contraction;
  }
  size_t bytes = 0;
  size_t next_bytes = 0;
  const uint8_t first = scan.ClassAt(at, &bytes);
  if (first == kLetter) {
    return scan.RunEnd(at + bytes, kLetter);
  }
  if (first == kNumber) {
    size_t end = at + bytes;
    for (int digits = 1;
         digits < max_digits && scan.ClassAt(end, &next_bytes) == kNumber;
         ++digits) {
      end += next_bytes;
    }
    return end;
  }
  const uint8_t next = scan.ClassAt(at + bytes, &next_bytes);
  if (next == kLetter && !Scanner::IsNewline(text[at])) {
    return scan.RunEnd(at + bytes + next_bytes, kLetter);
  }
  if (first == kOther) {
    return scan.NewlinesEnd(scan.RunEnd(at + bytes, kOther));
  }
  if (text[at] == ' ' && next == kOther) {
    return scan.NewlinesEnd(scan.RunEnd(at + 1 + next_bytes, kOther));
  }
  // \s*[\r\n]+: up to the last newline of the whitespace.
  const size_t spaces = scan.RunEnd(at, kSpace);
  for (size_t end = spaces; end > at; --end) {
    if (Scanner::IsNewline(text[end - 1])) {
      return end;
    }
  }
  return scan.SpacesEnd(at);
}

}  // namespace

std::string_view Gpt2Regex() { return kGpt2Regex; }

std::optional<WordPattern> FindWordPattern(std::string_view regex) {
  if (regex == kGpt2Regex) {
    return WordPattern::kGpt2;
  }
  if (regex == kCl100kRegex) {
    return WordPattern::kCl100k;
  }
  if (regex == kQwen2Regex) {
    return WordPattern::kQwen2;
  }
  return std::nullopt;
}

size_t WordEnd(WordPattern pattern, std::string_view text, size_t at) {
  switch (pattern) {
    case WordPattern::kGpt2:
      return Gpt2End(text, at);
    case WordPattern::kCl100k:
      return Cl100kEnd(text, at, 3);
    case WordPattern::kQwen2:
      break;
  }
  return Cl100kEnd(text, at, 1);
}

}  // namespace tributary::tokenizer
