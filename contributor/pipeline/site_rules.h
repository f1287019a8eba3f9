#pragma once

// The site's own rules, from the contributor's configuration and, above it, a
// policy file that only the site's administrator can change.

#include <filesystem>
#include <string>

#include "common/base/status.h"
#include "contributor/egress/approval.h"
#include "contributor/egress/report.h"
#include "tributary/config/contributor.pb.h"

namespace tributary::contributor {

// A config::SitePolicy in text format. What it sets wins over `policy` of
// contributor.textproto, for every contributor home on the machine.
inline constexpr char kSitePolicyFile[] =
    "/etc/tributary/site-policy.textproto";

// Applies the file to `config`; a file that is not there changes nothing.
// INVALID_ARGUMENT names what is wrong in it: nothing is sent on a policy that
// cannot be read.
Status ApplySitePolicy(const std::filesystem::path& file,
                       config::ContributorConfig& config);

// The rules of a configuration that has its defaults; loads the approvers'
// keys. NOT_FOUND or INVALID_ARGUMENT name the key file that is wrong.
StatusOr<SiteRules> RulesOf(const config::ContributorConfig& config);

}  // namespace tributary::contributor
