#pragma once

#include <string>

#include "common/base/status.h"

namespace tributary::coordinator {

// The key in a file, without white space around it; empty for an empty path.
// FAILED_PRECONDITION when others than its owner can read the file,
// INVALID_ARGUMENT for keys shorter than 16 characters or with others than
// printable ASCII.
StatusOr<std::string> ReadSecretFile(const std::string& path);

}  // namespace tributary::coordinator
