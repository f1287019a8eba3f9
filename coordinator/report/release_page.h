#pragma once

#include <string>

#include "common/base/json.h"
#include "common/base/status.h"
#include "coordinator/report/release_facts.h"

namespace tributary::coordinator {

// The page of a release; `analysis` (null: none) adds its routing pictures,
// `comparison` (null: none) what else could be made of its experts.
// INVALID_ARGUMENT when they are not what `model analyse` and `release compare`
// write.
StatusOr<std::string> ReleasePage(const ReleaseFacts& facts,
                                  const Json* analysis,
                                  const Json* comparison = nullptr);

}  // namespace tributary::coordinator
