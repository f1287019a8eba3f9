#include "coordinator/gateway/field_reader.h"

namespace tributary::coordinator {
namespace {

const Json& Nothing() {
  static const Json nothing = Json::object();
  return nothing;
}

}  // namespace

FieldReader::FieldReader(const Json& body)
    : body_(body.is_object() ? body : Nothing()) {
  if (!body.is_object()) {
    Fault("", "the body must be a JSON object");
  }
}

const Json* FieldReader::Any(const std::string& name) {
  known_.insert(name);
  const auto found = body_.find(name);
  return !ok() || found == body_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> FieldReader::Integer(const std::string& name,
                                            int64_t least, int64_t most) {
  const Json* value = Any(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  const bool fits =
      value->is_number_integer() &&
      !(value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX);
  if (!fits || value->get<int64_t>() < least || value->get<int64_t>() > most) {
    Fault(name, fmt::format("{}: wanted a whole number from {} to {}", name,
                            least, most));
    return std::nullopt;
  }
  return value->get<int64_t>();
}

std::optional<double> FieldReader::Number(const std::string& name, double least,
                                          double most) {
  const Json* value = Any(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number() || !(value->get<double>() >= least) ||
      !(value->get<double>() <= most)) {
    Fault(name,
          fmt::format("{}: wanted a number from {} to {}", name, least, most));
    return std::nullopt;
  }
  return value->get<double>();
}

std::optional<std::string> FieldReader::Text(const std::string& name) {
  const Json* value = Any(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    Fault(name, name + ": wanted a string");
    return std::nullopt;
  }
  return value->get<std::string>();
}

bool FieldReader::Flag(const std::string& name) {
  const Json* value = Any(name);
  if (value == nullptr) {
    return false;
  }
  if (!value->is_boolean()) {
    Fault(name, name + ": wanted true or false");
    return false;
  }
  return value->get<bool>();
}

void FieldReader::RefuseUnlessOff(const std::string& name, const Json& off) {
  const Json* value = Any(name);
  if (value == nullptr || *value == off ||
      (value->is_boolean() && !value->get<bool>()) ||
      (value->is_number() && value->get<double>() == 0) ||
      (value->is_string() && value->get_ref<const std::string&>().empty()) ||
      (value->is_structured() && value->empty())) {
    return;
  }
  Fault(name, name + " is not supported by this server",
        "unsupported_parameter");
}

void FieldReader::Fault(const std::string& param, const std::string& message,
                        const std::string& code) {
  if (ok()) {
    error_ = ApiError{
        .status = 400, .message = message, .param = param, .code = code};
  }
}

std::optional<ApiError> FieldReader::Finish() {
  for (const auto& [name, value] : body_.items()) {
    if (!known_.contains(name)) {
      Fault(name, "unrecognized request argument: " + name,
            "unknown_parameter");
    }
  }
  return error_;
}

}  // namespace tributary::coordinator
