#include "common/tokenizer/regex.h"

#include <array>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace tributary::tokenizer {
namespace {

std::string ErrorText(int code) {
  std::array<PCRE2_UCHAR, 256> buffer = {};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR AsPcre(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

using MatchData =
    std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* value) : code(value) {}
  ~Code() { pcre2_code_free(code); }
  pcre2_code* code;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;

StatusOr<std::unique_ptr<Regex>> Regex::Compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(AsPcre(pattern), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, nullptr);
  if (code == nullptr) {
    return InvalidArgument("pattern \"{}\": {} at {}", pattern,
                           ErrorText(error), offset);
  }
  std::unique_ptr<Regex> regex(new Regex(std::make_unique<Code>(code)));
  // Without a JIT for this processor the interpreter takes over.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return regex;
}

StatusOr<std::optional<std::pair<size_t, size_t>>> Regex::Find(
    std::string_view text, size_t at) const {
  const MatchData data(
      pcre2_match_data_create_from_pattern(code_->code, nullptr),
      &pcre2_match_data_free);
  // The text was checked to be UTF-8 before.
  const int count = pcre2_match(code_->code, AsPcre(text), text.size(), at,
                                PCRE2_NO_UTF_CHECK, data.get(), nullptr);
  if (count == PCRE2_ERROR_NOMATCH) {
    return std::optional<std::pair<size_t, size_t>>();
  }
  if (count < 0) {
    return ResourceExhausted("pattern matching failed: {}", ErrorText(count));
  }
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
  return std::optional(std::pair<size_t, size_t>(ends[0], ends[1]));
}

}  // namespace tributary::tokenizer
