#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::manifest {

// The name of bytes: their SHA-256 and how many they are. Text form:
// "blobs/sha256/{hex}/{size}".
struct BlobName {
  std::string sha256;  // 64 lower-case hexadecimal digits
  uint64_t size = 0;   // bytes

  // INVALID_ARGUMENT unless `text` is the one spelling of a name.
  static StatusOr<BlobName> Parse(std::string_view text);
  std::string ToString() const;

  friend auto operator<=>(const BlobName&, const BlobName&) = default;
};

}  // namespace tributary::manifest
