#pragma once

#include <string>

#include "common/base/json.h"
#include "common/base/status.h"
#include "coordinator/report/release_facts.h"

namespace tributary::coordinator {

// The page of a release; `analysis` (null: none) adds its routing pictures.
// INVALID_ARGUMENT when that is not an analysis.
StatusOr<std::string> ReleasePage(const ReleaseFacts& facts,
                                  const Json* analysis);

}  // namespace tributary::coordinator
