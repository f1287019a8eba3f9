#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "nlohmann/json.hpp"

namespace tributary::model_format {

// Typed access to the keys of a JSON object; errors name the key, what it has
// and what it should have. A key that is null counts as absent.
class JsonFields {
 public:
  // `object` outlives this; it must be a JSON object.
  explicit JsonFields(const nlohmann::json& object) : object_(object) {}

  bool Has(std::string_view key) const { return Value(key) != nullptr; }
  // The value, or null when absent.
  const nlohmann::json* Value(std::string_view key) const;

  // A positive integer below 2^31.
  StatusOr<int64_t> Size(std::string_view key) const;
  StatusOr<int64_t> SizeOr(std::string_view key, int64_t otherwise) const;
  StatusOr<double> Number(std::string_view key) const;
  StatusOr<double> NumberOr(std::string_view key, double otherwise) const;
  StatusOr<bool> BoolOr(std::string_view key, bool otherwise) const;
  StatusOr<std::string> String(std::string_view key) const;
  // An integer that is not negative.
  StatusOr<std::optional<int64_t>> OptionalId(std::string_view key) const;

  Status Missing(std::string_view key) const;
  Status Wrong(std::string_view key, std::string_view wanted) const;

 private:
  const nlohmann::json& object_;
};

}  // namespace tributary::model_format
