#pragma once

// What the operator's mutating calls do in their transaction.

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/decision.h"
#include "coordinator/storage/reader_store.h"

namespace tributary::coordinator {

// Records a new invitation by the hash of its secret; older unused ones of the
// same contributor stop working. FAILED_PRECONDITION: revoked.
Status RecordInvitation(const Core& core, Transaction& transaction,
                        const Caller& caller, const std::string& contributor,
                        const std::string& secret_sha256,
                        int64_t expire_time_s);

// Refuses a contributor from its next call on. NOT_FOUND.
Status Revoke(const Core& core, Transaction& transaction, const Caller& caller,
              const std::string& contributor);

// Drops the open invitation of a contributor. NOT_FOUND: there is none.
StatusOr<InvitationRow> TakeInvitationBack(const Core& core,
                                           Transaction& transaction,
                                           const Caller& caller,
                                           const std::string& contributor);

// Refuses a reader from its next call on; doing it again changes nothing.
StatusOr<RevokedReaderRow> RevokeReader(const Core& core,
                                        Transaction& transaction,
                                        const Caller& caller,
                                        const std::string& reader);

struct OperatorDecision {
  std::string contribution;
  Outcome outcome = Outcome::kRejected;
  std::string reason;
};

// Decides on a quarantined contribution; rejects or quarantines an accepted one
// that is in no release that is served or built; holds one that is on its way,
// so that it is quarantined once it passed the gates. FAILED_PRECONDITION in
// other states.
Status Decide(const Core& core, Transaction& transaction, const Caller& caller,
              const OperatorDecision& decision);

// A release of everything accepted for the current anchor, BUILDING, its build
// queued. FAILED_PRECONDITION: nothing is accepted.
StatusOr<int64_t> CreateRelease(const Core& core, Transaction& transaction,
                                const Caller& caller,
                                const std::string& router_mode);

}  // namespace tributary::coordinator
