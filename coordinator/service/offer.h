#pragma once

// What CreateContribution and SubmitContribution do in their transaction.

#include <string>

#include "common/base/status.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

enum class OfferMode { kCreate, kValidateOnly };

// Checks an offered manifest and registers it. The same manifest under the same
// name is the same contribution. Errors as ContributionService
// .CreateContribution.
StatusOr<ContributionRow> Offer(const Core& core, Transaction& transaction,
                                const Caller& caller,
                                const std::string& envelope_json,
                                OfferMode mode);

// Ends the upload and queues admission. One that is in admission or decided
// already is returned as it is. FAILED_PRECONDITION: blobs are missing, or it
// was withdrawn.
StatusOr<ContributionRow> Submit(const Core& core, Transaction& transaction,
                                 const Caller& caller, const std::string& id,
                                 OfferMode mode);

}  // namespace tributary::coordinator
