#pragma once

#include "common/base/status.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

// Whether this caller may read the blob now: files of anchors, of releases that
// are served, and a contributor's own. NOT_FOUND for everything else.
Status CheckReadable(const Core& core, const Caller& caller,
                     const BlobName& name);

}  // namespace tributary::coordinator
