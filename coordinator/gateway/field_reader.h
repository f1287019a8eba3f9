#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "coordinator/gateway/api_error.h"

namespace tributary::coordinator {

// Reads the fields of a request's JSON object. The first fault is kept; after
// it everything reads as absent. A null stands for an absent field.
class FieldReader {
 public:
  // `body` must be an object and outlive the reader.
  explicit FieldReader(const Json& body);

  const Json* Any(const std::string& name);
  std::optional<int64_t> Integer(const std::string& name, int64_t least,
                                 int64_t most);
  std::optional<double> Number(const std::string& name, double least,
                               double most);
  std::optional<std::string> Text(const std::string& name);
  bool Flag(const std::string& name);
  // Accepts a field that changes nothing here, such as a user's name.
  void Ignore(const std::string& name) { known_.insert(name); }
  // Accepts a field only with values that mean "off": null, false, 0, "",
  // empty lists and objects, and `off`.
  void RefuseUnlessOff(const std::string& name, const Json& off = nullptr);

  void Fault(const std::string& param, const std::string& message,
             const std::string& code = "");
  // The first fault; an unknown field is one.
  std::optional<ApiError> Finish();
  bool ok() const { return !error_.has_value(); }

 private:
  const Json& body_;
  std::set<std::string> known_;
  std::optional<ApiError> error_;
};

}  // namespace tributary::coordinator
