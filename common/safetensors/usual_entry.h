#pragma once

#include <cstddef>
#include <string_view>

#include "common/safetensors/header.h"

namespace tributary::safetensors {

// Reads one entry of a header, `"name":{"dtype":"...","shape":[...],
// "data_offsets":[...]}`, that begins at `at` and is spelt as every known
// writer spells it: without blanks and escapes, fields in this order. Returns
// the position behind it, or 0 for everything else, faults included, which a
// full parser then names. `json` is UTF-8.
size_t ParseUsualEntry(std::string_view json, size_t at, size_t max_key_bytes,
                       TensorInfo* tensor);

}  // namespace tributary::safetensors
