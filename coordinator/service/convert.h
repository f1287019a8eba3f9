#pragma once

// Rows to the messages of the public API.

#include <string>
#include <vector>

#include "common/base/status.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/storage/withdrawal_store.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/anchor.pb.h"
#include "tributary/v1/contribution.pb.h"
#include "tributary/v1/release.pb.h"

namespace tributary::coordinator {

v1::Anchor ToProto(const AnchorRow& row);
v1::Contribution ToProto(const ContributionRow& row);
v1::Contributor ToProto(const ContributorRow& row);
v1::Withdrawal ToProto(const WithdrawalRow& row);
// Manifest and envelope only while the release is served.
v1::Release ToProto(const ReleaseRow& row,
                    const std::vector<EvaluationRow>& evaluations);

// Reads of one resource, for answers. NOT_FOUND when it is not there.
StatusOr<v1::Contribution> ReadContribution(Transaction& transaction,
                                            const std::string& id);
StatusOr<v1::Withdrawal> ReadWithdrawal(Transaction& transaction,
                                        const std::string& id);
StatusOr<v1::Release> ReadRelease(Transaction& transaction, int64_t number);

}  // namespace tributary::coordinator
