#include "coordinator/inference/template_value.h"

#include <algorithm>
#include <cctype>

namespace tributary::coordinator {
namespace {

using Kind = TemplateExpression::Kind;

constexpr std::string_view kSpace = " \t\r\n\v\f";
constexpr size_t kMaxTextBytes = 16u << 20;

Status Unsuited(const std::string& what) {
  return InvalidArgument("chat template: {} on a value of another kind", what);
}

std::string Stripped(std::string text, bool left, bool right) {
  if (right) {
    const size_t last = text.find_last_not_of(kSpace);
    text.resize(last == std::string::npos ? 0 : last + 1);
  }
  if (left) {
    text.erase(0, std::min(text.find_first_not_of(kSpace), text.size()));
  }
  return text;
}

StatusOr<bool> Contains(const TemplateValue& item, const TemplateValue& list) {
  if (!item || !list) {
    return Unsuited("in");
  }
  if (list->is_string() && item->is_string()) {
    return list->get_ref<const std::string&>().find(
               item->get_ref<const std::string&>()) != std::string::npos;
  }
  if (list->is_object() && item->is_string()) {
    return list->contains(item->get_ref<const std::string&>());
  }
  if (list->is_array()) {
    return std::find(list->begin(), list->end(), *item) != list->end();
  }
  return Unsuited("in");
}

StatusOr<TemplateValue> Add(const TemplateValue& left,
                            const TemplateValue& right) {
  if (left && right && left->is_string() && right->is_string()) {
    const auto& a = left->get_ref<const std::string&>();
    const auto& b = right->get_ref<const std::string&>();
    if (a.size() + b.size() > kMaxTextBytes) {
      return InvalidArgument("chat template: a text of more than {} bytes",
                             kMaxTextBytes);
    }
    return TemplateValue(a + b);
  }
  if (left && right && left->is_number_integer() &&
      right->is_number_integer()) {
    return TemplateValue(left->get<int64_t>() + right->get<int64_t>());
  }
  return Unsuited("+");
}

StatusOr<TemplateValue> Binary(const TemplateExpression& expression,
                               const TemplateScope& scope) {
  const std::string& op = expression.text;
  ASSIGN_OR_RETURN(const TemplateValue left,
                   Evaluate(expression.parts[0], scope));
  if (op == "or" || op == "and") {
    return IsTrue(left) == (op == "or") ? left
                                        : Evaluate(expression.parts[1], scope);
  }
  ASSIGN_OR_RETURN(const TemplateValue right,
                   Evaluate(expression.parts[1], scope));
  if (op == "==" || op == "!=") {
    return TemplateValue((left == right) == (op == "=="));
  }
  if (op == "in" || op == "not in") {
    ASSIGN_OR_RETURN(const bool found, Contains(left, right));
    return TemplateValue(found == (op == "in"));
  }
  if (op == "+") {
    return Add(left, right);
  }
  if (op == "~") {
    ASSIGN_OR_RETURN(const std::string a, Shown(left));
    ASSIGN_OR_RETURN(const std::string b, Shown(right));
    return Add(TemplateValue(a), TemplateValue(b));
  }
  if (!left || !right || !left->is_number_integer() ||
      !right->is_number_integer()) {
    return Unsuited(op);
  }
  const auto a = left->get<int64_t>();
  const auto b = right->get<int64_t>();
  if (op == "-") {
    return TemplateValue(a - b);
  }
  if (op == "%") {
    if (b <= 0) {
      return InvalidArgument("chat template: % {}, wanted a positive number",
                             b);
    }
    return TemplateValue((a % b + b) % b);
  }
  return TemplateValue(op == "<"    ? a < b
                       : op == ">"  ? a > b
                       : op == "<=" ? a <= b
                                    : a >= b);
}

StatusOr<TemplateValue> Member(const TemplateExpression& expression,
                               const TemplateScope& scope) {
  ASSIGN_OR_RETURN(const TemplateValue whole,
                   Evaluate(expression.parts[0], scope));
  TemplateValue index;
  if (expression.kind == Kind::kAttribute) {
    index = expression.text;
  } else {
    ASSIGN_OR_RETURN(index, Evaluate(expression.parts[1], scope));
  }
  if (!whole || !index) {
    return Unsuited("[]");
  }
  if (whole->is_object() && index->is_string()) {
    const auto found = whole->find(index->get_ref<const std::string&>());
    return found == whole->end() ? TemplateValue() : TemplateValue(*found);
  }
  if (!whole->is_array() || !index->is_number_integer()) {
    return Unsuited("[]");
  }
  const auto size = static_cast<int64_t>(whole->size());
  int64_t at = index->get<int64_t>();
  at = at < 0 ? at + size : at;
  if (expression.kind == Kind::kSliceFrom) {
    Json rest = Json::array();
    for (int64_t i = std::max<int64_t>(0, at); i < size; ++i) {
      rest.push_back((*whole)[static_cast<size_t>(i)]);
    }
    return TemplateValue(std::move(rest));
  }
  return at < 0 || at >= size
             ? TemplateValue()
             : TemplateValue((*whole)[static_cast<size_t>(at)]);
}

bool Test(const std::string& name, const TemplateValue& value) {
  if (name == "defined" || name == "undefined") {
    return value.has_value() == (name == "defined");
  }
  if (!value) {
    return false;
  }
  return name == "none"      ? value->is_null()
         : name == "string"  ? value->is_string()
         : name == "mapping" ? value->is_object()
                             : *value == Json(name == "true");
}

StatusOr<TemplateValue> Filter(const std::string& name,
                               const TemplateValue& value) {
  if (!value) {
    return Unsuited(name);
  }
  if (name == "length" || name == "count") {
    if (!value->is_array() && !value->is_object()) {
      return Unsuited(name);
    }
    return TemplateValue(static_cast<int64_t>(value->size()));
  }
  if (!value->is_string()) {
    return Unsuited(name);
  }
  std::string text = value->get<std::string>();
  if (name == "trim") {
    return TemplateValue(Stripped(std::move(text), true, true));
  }
  for (char& c : text) {  // ASCII only: roles, not contents
    c = static_cast<char>(name == "upper"
                              ? std::toupper(static_cast<unsigned char>(c))
                              : std::tolower(static_cast<unsigned char>(c)));
  }
  return TemplateValue(std::move(text));
}

StatusOr<TemplateValue> Method(const TemplateExpression& expression,
                               const TemplateScope& scope) {
  const std::string& name = expression.text;
  ASSIGN_OR_RETURN(const TemplateValue value,
                   Evaluate(expression.parts[0], scope));
  if (!value || !value->is_string()) {
    return Unsuited(name);
  }
  const auto& text = value->get_ref<const std::string&>();
  if (expression.parts.size() == 1) {
    return TemplateValue(Stripped(text, name != "rstrip", name != "lstrip"));
  }
  ASSIGN_OR_RETURN(const TemplateValue other,
                   Evaluate(expression.parts[1], scope));
  if (!other || !other->is_string()) {
    return Unsuited(name);
  }
  const auto& part = other->get_ref<const std::string&>();
  return TemplateValue(name == "startswith" ? text.starts_with(part)
                                            : text.ends_with(part));
}

}  // namespace

bool IsTrue(const TemplateValue& value) {
  if (!value || value->is_null()) {
    return false;
  }
  if (value->is_boolean()) {
    return value->get<bool>();
  }
  if (value->is_number_integer()) {
    return value->get<int64_t>() != 0;
  }
  if (value->is_string()) {
    return !value->get_ref<const std::string&>().empty();
  }
  return !value->empty();
}

StatusOr<std::string> Shown(const TemplateValue& value) {
  if (!value) {
    return std::string();
  }
  if (value->is_string()) {
    return value->get<std::string>();
  }
  if (value->is_number_integer()) {
    return std::to_string(value->get<int64_t>());
  }
  if (value->is_boolean()) {
    return std::string(value->get<bool>() ? "True" : "False");
  }
  if (value->is_null()) {
    return std::string("None");
  }
  return Unsuited("output");
}

StatusOr<TemplateValue> Evaluate(const TemplateExpression& expression,
                                 const TemplateScope& scope) {
  switch (expression.kind) {
    case Kind::kLiteral:
      return TemplateValue(expression.literal);
    case Kind::kName: {
      const auto found = scope.find(expression.text);
      return found == scope.end() ? TemplateValue() : found->second;
    }
    case Kind::kAttribute:
    case Kind::kIndex:
    case Kind::kSliceFrom:
      return Member(expression, scope);
    case Kind::kBinary:
      return Binary(expression, scope);
    case Kind::kMethod:
      return Method(expression, scope);
    case Kind::kConditional: {
      ASSIGN_OR_RETURN(const TemplateValue condition,
                       Evaluate(expression.parts[1], scope));
      if (IsTrue(condition)) {
        return Evaluate(expression.parts[0], scope);
      }
      return expression.parts.size() == 3 ? Evaluate(expression.parts[2], scope)
                                          : TemplateValue();
    }
    default:
      break;
  }
  ASSIGN_OR_RETURN(const TemplateValue inner,
                   Evaluate(expression.parts[0], scope));
  switch (expression.kind) {
    case Kind::kNot:
      return TemplateValue(!IsTrue(inner));
    case Kind::kNegative:
      if (!inner || !inner->is_number_integer()) {
        return Unsuited("-");
      }
      return TemplateValue(-inner->get<int64_t>());
    case Kind::kTest:
      return TemplateValue(Test(expression.text, inner));
    case Kind::kFilter:
      return Filter(expression.text, inner);
    default: {  // kRaise
      ASSIGN_OR_RETURN(const std::string message, Shown(inner));
      return InvalidArgument("the model's chat template refuses this: {}",
                             message);
    }
  }
}

}  // namespace tributary::coordinator
