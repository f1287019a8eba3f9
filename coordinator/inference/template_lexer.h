#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

// A word of a template's expressions and statements.
struct TemplateToken {
  enum class Kind { kName, kText, kInteger, kSymbol, kEnd } kind = Kind::kEnd;
  std::string text;  // without quotes, escapes replaced
  int64_t integer = 0;
};

// A stretch of a template: text as it is, or what stands between delimiters.
struct TemplateChunk {
  enum class Kind { kText, kOutput, kStatement } kind = Kind::kText;
  std::string text;
  std::vector<TemplateToken> tokens;  // ended by kEnd
};

// Cuts a chat template as Jinja does with trim_blocks and lstrip_blocks, which
// is how chat templates are read. INVALID_ARGUMENT for what has no end or is no
// token.
StatusOr<std::vector<TemplateChunk>> CutTemplate(std::string_view source);

}  // namespace tributary::coordinator
