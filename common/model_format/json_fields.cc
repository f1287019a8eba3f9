#include "common/model_format/json_fields.h"

#include <limits>

namespace tributary::model_format {
namespace {

// nlohmann throws on text that is not UTF-8; a parsed document is.
std::string Dump(const nlohmann::json& value) {
  std::string text =
      value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  constexpr size_t kLongest = 80;
  if (text.size() > kLongest) {
    text = text.substr(0, kLongest) + "...";
  }
  return text;
}

}  // namespace

const nlohmann::json* JsonFields::Value(std::string_view key) const {
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

Status JsonFields::Missing(std::string_view key) const {
  return InvalidArgument("the key \"{}\" is missing", key);
}

Status JsonFields::Wrong(std::string_view key, std::string_view wanted) const {
  return InvalidArgument("{}: got {}, wanted {}", key, Dump(*Value(key)),
                         wanted);
}

StatusOr<int64_t> JsonFields::Size(std::string_view key) const {
  const nlohmann::json* value = Value(key);
  if (value == nullptr) {
    return Missing(key);
  }
  if (!value->is_number_integer() || *value < 1 ||
      *value > std::numeric_limits<int32_t>::max()) {
    return Wrong(key, "a positive integer below 2^31");
  }
  return value->get<int64_t>();
}

StatusOr<int64_t> JsonFields::SizeOr(std::string_view key,
                                     int64_t otherwise) const {
  if (!Has(key)) {
    return otherwise;
  }
  return Size(key);
}

StatusOr<double> JsonFields::Number(std::string_view key) const {
  const nlohmann::json* value = Value(key);
  if (value == nullptr) {
    return Missing(key);
  }
  if (!value->is_number()) {
    return Wrong(key, "a number");
  }
  return value->get<double>();
}

StatusOr<double> JsonFields::NumberOr(std::string_view key,
                                      double otherwise) const {
  if (!Has(key)) {
    return otherwise;
  }
  return Number(key);
}

StatusOr<bool> JsonFields::BoolOr(std::string_view key, bool otherwise) const {
  const nlohmann::json* value = Value(key);
  if (value == nullptr) {
    return otherwise;
  }
  if (!value->is_boolean()) {
    return Wrong(key, "true or false");
  }
  return value->get<bool>();
}

StatusOr<std::string> JsonFields::String(std::string_view key) const {
  const nlohmann::json* value = Value(key);
  if (value == nullptr) {
    return Missing(key);
  }
  if (!value->is_string()) {
    return Wrong(key, "a string");
  }
  return value->get<std::string>();
}

StatusOr<std::optional<int64_t>> JsonFields::OptionalId(
    std::string_view key) const {
  const nlohmann::json* value = Value(key);
  if (value == nullptr) {
    return std::optional<int64_t>();
  }
  if (!value->is_number_integer() || *value < 0 ||
      *value > std::numeric_limits<int32_t>::max()) {
    return Wrong(key, "a token id");
  }
  return std::optional<int64_t>(value->get<int64_t>());
}

}  // namespace tributary::model_format
