#pragma once

// Identities of inputs that the front process may look at but not open.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

// SHA-256 (hex) over relative names, sizes and modification times of the
// files at and below `paths`, in a fixed order. No file is opened.
// NOT_FOUND when a path does not exist, INVALID_ARGUMENT when nothing below it
// is a regular file.
StatusOr<std::string> FingerprintPaths(
    const std::vector<std::filesystem::path>& paths);

// Regular files at and below `paths`.
struct DataSize {
  int64_t files = 0;
  uint64_t bytes = 0;
};
DataSize SizeOf(const std::vector<std::filesystem::path>& paths);

}  // namespace tributary::contributor
