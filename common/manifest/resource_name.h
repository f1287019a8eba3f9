#pragma once

// Names of resources: "contributions/{id}", "contributors/{id}",
// "anchors/{id}", "withdrawals/{contribution id}", "releases/{number}",
// "readers/{id}" and "invitations/{contributor id}".

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::manifest {

enum class Collection {
  kContributions,
  kContributors,
  kAnchors,
  kReleases,
  kWithdrawals,
  kReaders,
  kInvitations,
};

// "contributions", ...
std::string_view CollectionName(Collection collection);

// Ids, and federation names too: 1 to 63 of a-z, 0-9 and "-", not beginning or
// ending with "-".
bool IsValidId(std::string_view id);

// INVALID_ARGUMENT that names `field` unless `id` is valid.
Status CheckId(std::string_view field, std::string_view id);

// "{collection}/{id}".
std::string ResourceName(Collection collection, std::string_view id);

// What a person typed, an id or a full name, as the full name.
std::string FullResourceName(Collection collection, std::string_view text);

// The id of a name of that collection. INVALID_ARGUMENT otherwise. Release ids
// are numbers or "latest", anchor ids may be "current".
StatusOr<std::string> ParseResourceName(Collection collection,
                                        std::string_view name);

// "releases/{number}".
std::string ReleaseName(int64_t number);

// The number (1 or more) of a release's name. INVALID_ARGUMENT otherwise,
// "releases/latest" included.
StatusOr<int64_t> ParseReleaseName(std::string_view name);

}  // namespace tributary::manifest
