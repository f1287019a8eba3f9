#pragma once

// Strict reading of JSON from strangers: the one place that meets the JSON
// library's exceptions.

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary {

using Json = nlohmann::json;

struct JsonLimits {
  size_t max_bytes = 16u << 20;
  size_t max_depth = 32;  // of nested arrays and objects
};

// INVALID_ARGUMENT with the position for texts that are too long, too deep,
// not valid JSON or UTF-8, or that have an object with the same key twice
// (also when written with different escapes).
StatusOr<Json> ParseJson(std::string_view text, const JsonLimits& limits = {});

// The text of a value without white space, object keys sorted bytewise.
// INVALID_ARGUMENT for numbers that are not finite and text that is not UTF-8.
// `indent` of 0 or more puts every element on its own line.
StatusOr<std::string> DumpJson(const Json& value, int indent = -1);

}  // namespace tributary
