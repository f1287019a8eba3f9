#pragma once

#include <string>

#include "common/base/status.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/withdrawal_store.h"

namespace tributary::coordinator {

// Who asks for a withdrawal.
struct WithdrawalRequester {
  std::string actor;   // an identity
  std::string reason;  // of an operator that acts on the owner's behalf
};

// The opt-out itself, all in the caller's transaction: the contribution becomes
// WITHDRAWN, so does every release that holds it, latest moves to the newest
// clean one, the rebuild and purge are queued, the audit log has it, and a
// receipt of exactly that is signed. Withdrawing again returns what is there.
StatusOr<WithdrawalRow> Withdraw(const Core& core, Transaction& transaction,
                                 const ContributionRow& contribution,
                                 const WithdrawalRequester& requester);

}  // namespace tributary::coordinator
