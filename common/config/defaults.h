#pragma once

#include <string_view>

#include "common/base/status.h"
#include "tributary/config/contributor.pb.h"
#include "tributary/config/coordinator.pb.h"

namespace tributary::config {

// `config` with every default filled in. INVALID_ARGUMENT naming the first
// field that is out of range, with what was got and what is wanted. Stays 0 or
// empty: what other facts decide (public_address, experts.max_width: the
// anchor's width; purge_grace: at once) and what 0 or empty itself means
// (worker).
StatusOr<CoordinatorConfig> CompleteConfig(const CoordinatorConfig& config);

// The same; `contributor_id` is the default name of the contribution. Stays 0
// or empty: what the anchor's policy decides (data.window_tokens,
// expert.width, expert.first_layer), limits that 0 switches off, the lists of
// paths, and worker.
StatusOr<ContributorConfig> CompleteConfig(const ContributorConfig& config,
                                           std::string_view contributor_id);

// INVALID_ARGUMENT unless data.train names something.
Status CheckTrainingData(const ContributorConfig& config);

// Seconds between withdrawal and purge.
StatusOr<double> PurgeGraceSeconds(const CoordinatorConfig& config);

}  // namespace tributary::config
