#pragma once

#include <string_view>

#include "common/base/status.h"
#include "coordinator/storage/contribution_store.h"

namespace tributary::coordinator {

// The `filter` of lists of contributions: conditions FIELD = VALUE joined by
// AND (a part of AIP-160), VALUE bare or in double quotes. Fields: state,
// anchor_digest, and contributor in lists of everyone's. INVALID_ARGUMENT.
enum class FilterScope { kOwn, kEveryone };
StatusOr<ContributionFilter> ParseContributionFilter(std::string_view text,
                                                     FilterScope scope);

}  // namespace tributary::coordinator
