#include "contributor/client/receipts.h"

#include "common/base/files.h"
#include "common/manifest/resource_name.h"
#include "common/manifest/statement.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

Status CheckFederation(const std::string& federation,
                       const Identity& identity) {
  if (federation != identity.federation) {
    return Unauthenticated("the receipt is of federation {}, wanted {}",
                           federation, identity.federation);
  }
  return absl::OkStatus();
}

Status CheckOwner(const std::string& contribution,
                  const std::string& contributor, const std::string& expected,
                  const Identity& identity) {
  if (contribution != expected || contributor != identity.contributor_id) {
    return Unauthenticated(
        "got a receipt for contribution {} of {}, wanted {} of {}",
        contribution, contributor, expected, identity.contributor_id);
  }
  return absl::OkStatus();
}

// The signer of that time, as far as its certificate was once trusted here.
Status CheckSignerOf(const crypto::Certificate& signer,
                     const Identity& identity, int64_t time_s) {
  std::vector<crypto::Certificate> cas = identity.cas();
  for (const crypto::Certificate& former : identity.former) {
    if (former.is_ca()) {
      cas.push_back(former);
    }
  }
  const StatusOr<manifest::Identity> member =
      VerifyMember(signer, cas, identity.federation, time_s);
  RETURN_IF_ERROR(
      Annotate(member.status(), "the coordinator's signing certificate"));
  return member->role == manifest::Role::kSigner
             ? absl::OkStatus()
             : Unauthenticated("got a certificate of role {}, wanted signer",
                               manifest::RoleName(member->role));
}

StatusOr<VerifiedReceipt> VerifySignedBy(std::string_view envelope_json,
                                         const crypto::Certificate& signer,
                                         const Identity& identity) {
  VerifiedReceipt verified;
  const crypto::PublicKey& key = signer.public_key();
  if (manifest::ReadStatementUnverified(envelope_json,
                                        manifest::kWithdrawalReceiptKind)
          .ok()) {
    ASSIGN_OR_RETURN(verified.withdrawal,
                     manifest::OpenWithdrawalReceipt(envelope_json, key));
    RETURN_IF_ERROR(
        CheckSignerOf(signer, identity, verified.withdrawal->withdraw_time_s));
    RETURN_IF_ERROR(CheckFederation(verified.withdrawal->federation, identity));
    return verified;
  }
  ASSIGN_OR_RETURN(verified.purge,
                   manifest::OpenPurgeReceipt(envelope_json, key));
  RETURN_IF_ERROR(
      CheckSignerOf(signer, identity, verified.purge->purge_time_s));
  RETURN_IF_ERROR(CheckFederation(verified.purge->federation, identity));
  return verified;
}

}  // namespace

StatusOr<VerifiedReceipt> VerifyReceipt(std::string_view envelope_json,
                                        const Identity& identity) {
  StatusOr<VerifiedReceipt> verified =
      VerifySignedBy(envelope_json, identity.signer, identity);
  for (auto former = identity.former.rbegin();
       !verified.ok() && former != identity.former.rend(); ++former) {
    if (former->is_ca()) {
      continue;
    }
    StatusOr<VerifiedReceipt> then =
        VerifySignedBy(envelope_json, *former, identity);
    if (then.ok()) {
      return then;
    }
  }
  return verified;
}

fs::path WithdrawalReceiptPath(const Home& home,
                               const std::string& contribution) {
  return home.Receipts() / (contribution + ".withdrawal.dsse.json");
}

fs::path PurgeReceiptPath(const Home& home, const std::string& contribution) {
  return home.Receipts() / (contribution + ".purge.dsse.json");
}

Status StoreReceipts(const Home& home, const Identity& identity,
                     const v1::Withdrawal& withdrawal) {
  ASSIGN_OR_RETURN(
      const std::string contribution,
      manifest::ParseResourceName(manifest::Collection::kContributions,
                                  withdrawal.contribution()));
  RETURN_IF_ERROR(MakeDirectories(home.Receipts()));
  if (!withdrawal.receipt_json().empty()) {
    ASSIGN_OR_RETURN(const VerifiedReceipt receipt,
                     VerifyReceipt(withdrawal.receipt_json(), identity));
    if (!receipt.withdrawal) {
      return InvalidArgument("{}: its first receipt is not of a withdrawal",
                             withdrawal.name());
    }
    RETURN_IF_ERROR(CheckOwner(receipt.withdrawal->contribution,
                               receipt.withdrawal->contributor, contribution,
                               identity));
    RETURN_IF_ERROR(WriteFileAtomic(WithdrawalReceiptPath(home, contribution),
                                    withdrawal.receipt_json()));
  }
  if (!withdrawal.final_receipt_json().empty()) {
    ASSIGN_OR_RETURN(const VerifiedReceipt receipt,
                     VerifyReceipt(withdrawal.final_receipt_json(), identity));
    if (!receipt.purge) {
      return InvalidArgument("{}: its final receipt is not of a purge",
                             withdrawal.name());
    }
    RETURN_IF_ERROR(CheckOwner(receipt.purge->contribution,
                               receipt.purge->contributor, contribution,
                               identity));
    RETURN_IF_ERROR(WriteFileAtomic(PurgeReceiptPath(home, contribution),
                                    withdrawal.final_receipt_json()));
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor
