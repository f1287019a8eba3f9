#pragma once

#include "common/base/status.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

// DATA_LOSS: the stored bytes no longer hash to the blob's name, so the disk
// has damaged them since they were verified. NOT_FOUND: they are gone.
Status CheckStoredBytes(const Core& core, const BlobName& name);

// Forgets damaged bytes of a contribution, so that its owner can upload them
// anew. FAILED_PRECONDITION: another resource needs the same bytes; only the
// operator can bring them back, from a backup.
Status DropDamagedBytes(const Core& core, const ContributionRow& contribution,
                        const BlobName& blob);

}  // namespace tributary::coordinator
