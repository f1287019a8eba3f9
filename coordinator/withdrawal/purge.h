#pragma once

#include <string>

#include "common/base/status.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

// Deletes what is left of a withdrawn contribution: its partial uploads, the
// folders of releases that held it, its blob and their router files unless
// something else needs the same bytes; then signs the final receipt and
// forgets the manifest. Each step can be repeated after a crash. Runs on the
// job thread only, so that no build uses the folders.
Status Purge(const Core& core, const std::string& contribution);

}  // namespace tributary::coordinator
