#pragma once

#include <cstdint>
#include <string_view>

#include "common/safetensors/header.h"

namespace tributary::safetensors {

// Parses the JSON of a header, which is UTF-8, of a file with `data_bytes`
// behind it. Leaves Header::data_begin to the caller.
StatusOr<Header> ParseHeaderJson(std::string_view json, uint64_t data_bytes,
                                 const HeaderLimits& limits);

}  // namespace tributary::safetensors
