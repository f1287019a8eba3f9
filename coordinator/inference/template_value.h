#pragma once

#include <map>
#include <optional>
#include <string>

#include "coordinator/inference/template_parser.h"

namespace tributary::coordinator {

// A value of a template; nothing is "undefined".
using TemplateValue = std::optional<Json>;
using TemplateScope = std::map<std::string, TemplateValue>;

// INVALID_ARGUMENT for values that an operation is not made for, and for
// raise_exception with its message.
StatusOr<TemplateValue> Evaluate(const TemplateExpression& expression,
                                 const TemplateScope& scope);

// Whether an `if` takes it for true.
bool IsTrue(const TemplateValue& value);

// How an output shows it. INVALID_ARGUMENT for lists and objects.
StatusOr<std::string> Shown(const TemplateValue& value);

}  // namespace tributary::coordinator
