#pragma once

// One byte string for one JSON value, so that it can be hashed and signed:
// UTF-8, object keys sorted bytewise, no white space, integers as integers,
// other numbers in their shortest form that reads back the same.

#include <string>
#include <string_view>

#include "common/base/json.h"
#include "common/base/status.h"

namespace tributary::manifest {

// INVALID_ARGUMENT for numbers that are not finite and text that is not UTF-8.
StatusOr<std::string> CanonicalJson(const Json& value);

// The canonical form of a JSON text, parsed strictly (common/base/json.h).
StatusOr<std::string> CanonicalizeJson(std::string_view text,
                                       const JsonLimits& limits = {});

}  // namespace tributary::manifest
