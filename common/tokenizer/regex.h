#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status.h"

namespace tributary::tokenizer {

// A compiled pattern (PCRE2, Unicode properties, JIT). Thread-safe. Its idea of
// letters and numbers is that of the installed PCRE2, which may be some Unicode
// versions behind; \s also matches U+180E.
class Regex {
 public:
  // INVALID_ARGUMENT with PCRE2's message and the offset.
  static StatusOr<std::unique_ptr<Regex>> Compile(const std::string& pattern);
  ~Regex();

  // Begin and end of the first match at or behind `at`, or nothing.
  // RESOURCE_EXHAUSTED when matching takes more steps than allowed.
  StatusOr<std::optional<std::pair<size_t, size_t>>> Find(std::string_view text,
                                                          size_t at) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  const std::unique_ptr<Code> code_;
};

}  // namespace tributary::tokenizer
