#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/json.h"
#include "common/base/status.h"

namespace tributary::coordinator {

// An expression of a template.
struct TemplateExpression {
  enum class Kind {
    kLiteral,      // literal
    kName,         // text
    kAttribute,    // parts[0].text
    kIndex,        // parts[0][parts[1]]
    kSliceFrom,    // parts[0][parts[1]:]
    kNot,          // not parts[0]
    kNegative,     // -parts[0]
    kBinary,       // parts[0] text parts[1]; text is "and", "==", "+", ...
    kTest,         // parts[0] is text
    kFilter,       // parts[0] | text
    kMethod,       // parts[0].text(parts[1] ...)
    kRaise,        // raise_exception(parts[0])
    kConditional,  // parts[0] if parts[1] else parts[2], which may be missing
  } kind = Kind::kLiteral;
  std::string text;
  Json literal;
  std::vector<TemplateExpression> parts;
};

struct TemplateStatement {
  enum class Kind {
    kText,    // text
    kOutput,  // expression
    kSet,     // text = expression
    kFor,     // text in expression: body
    kIf,      // expression: body, else otherwise
  } kind = Kind::kText;
  std::string text;
  TemplateExpression expression;
  std::vector<TemplateStatement> body;
  std::vector<TemplateStatement> otherwise;
};

// Reads a chat template: the part of Jinja that most of them are written in
// (for, if, set, output; operators, some tests, filters and methods).
// UNIMPLEMENTED names what is not in it, INVALID_ARGUMENT what is no template.
StatusOr<std::vector<TemplateStatement>> ParseTemplate(std::string_view source);

}  // namespace tributary::coordinator
