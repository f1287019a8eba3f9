#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::contributor {

// The content of a gzip file (RFC 1952, also of several members) or of a
// Zstandard file (RFC 8878, also of several frames). INVALID_ARGUMENT when the
// data are damaged or cut, RESOURCE_EXHAUSTED when the content is longer than
// `max_bytes`.
StatusOr<std::string> Gunzip(std::string_view data, uint64_t max_bytes);
StatusOr<std::string> Unzstd(std::string_view data, uint64_t max_bytes);

}  // namespace tributary::contributor
