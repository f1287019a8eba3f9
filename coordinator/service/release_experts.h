#pragma once

#include <string>

#include "common/base/status.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/release_store.h"
#include "tributary/v1/release.pb.h"

namespace tributary::coordinator {

// The release of a name, as far as this caller may know of it. NOT_FOUND;
// FAILED_PRECONDITION: withdrawn (operators see it all the same).
StatusOr<ReleaseRow> FindRelease(Transaction& transaction,
                                 const std::string& name, const Caller& caller);

// A page of what the owners of a release's experts signed, with the
// certificates of their keys. Pages end at 50 experts or 2 MiB. Errors as
// FindRelease; FAILED_PRECONDITION for a release that is not served.
Status ListReleaseExperts(const Core& core, const Caller& caller,
                          const v1::ListReleaseExpertsRequest& request,
                          v1::ListReleaseExpertsResponse& response);

}  // namespace tributary::coordinator
