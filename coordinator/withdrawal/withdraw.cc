#include "coordinator/withdrawal/withdraw.h"

#include <nlohmann/json.hpp>

#include "common/manifest/receipts.h"
#include "common/manifest/resource_name.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {

using manifest::Collection;
using manifest::ReleaseName;
using manifest::ResourceName;

StatusOr<WithdrawalRow> Withdraw(const Core& core, Transaction& transaction,
                                 const ContributionRow& contribution,
                                 const WithdrawalRequester& requester) {
  WithdrawalStore withdrawals(transaction);
  if (const auto present = withdrawals.Find(contribution.id)) {
    return *present;
  }
  const int64_t now_s = core.now_s();
  WithdrawalRow row{.contribution = contribution.id,
                    .anchor_digest = contribution.anchor_digest,
                    .create_time_s = now_s,
                    .purge_time_s = now_s + core.settings.purge_grace_s,
                    .reason = requester.reason};
  manifest::WithdrawalReceipt receipt;
  receipt.federation = core.settings.federation;
  receipt.contribution = contribution.id;
  receipt.contributor = contribution.contributor;
  ASSIGN_OR_RETURN(receipt.expert_blob, BlobName::Parse(contribution.blob));
  receipt.withdraw_time_s = now_s;
  if (!requester.reason.empty()) {
    row.requested_by = requester.actor;
    receipt.on_behalf = {.by = requester.actor, .reason = requester.reason};
  }
  receipt.purge_time_s = row.purge_time_s;

  ReleaseStore releases(transaction);
  Json names = Json::array();
  for (const ReleaseRow& release : releases.ListHolding(contribution.id)) {
    if (!release.served() && release.state != ReleaseState::kBuilding) {
      continue;
    }
    releases.SetState(release.number, ReleaseState::kWithdrawn,
                      "contributions/" + contribution.id + " was withdrawn");
    row.withdrawn_releases.push_back(release.number);
    names.push_back(ReleaseName(release.number));
    // One that was still being built was never served and has no digest.
    if (release.served()) {
      receipt.withdrawn_releases.push_back(
          {ReleaseName(release.number), release.digest});
    }
  }
  ContributionStore(transaction)
      .SetState(contribution.id, ContributionState::kWithdrawn, now_s);
  JobStore(transaction)
      .Add(JobKind::kWithdraw,
           ResourceName(Collection::kWithdrawals, contribution.id), now_s,
           now_s);
  Json detail = {{"withdrawn_releases", names}};
  if (!requester.reason.empty()) {
    detail["reason"] = requester.reason;
  }
  RETURN_IF_ERROR(core.Audit(
      transaction,
      {.actor = requester.actor,
       .action = "contribution.withdraw",
       .subject = ResourceName(Collection::kContributions, contribution.id)},
      detail));
  const manifest::Chain head = AuditLog(transaction).Head();
  receipt.audit = {head.size(), head.head_hash()};
  ASSIGN_OR_RETURN(row.receipt_json,
                   manifest::SignWithdrawalReceipt(receipt, core.signer));
  withdrawals.Add(row);
  return row;
}

}  // namespace tributary::coordinator
