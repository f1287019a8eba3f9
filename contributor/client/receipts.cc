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

}  // namespace

StatusOr<VerifiedReceipt> VerifyReceipt(std::string_view envelope_json,
                                        const Identity& identity) {
  VerifiedReceipt verified;
  const crypto::PublicKey& signer = identity.signer.public_key();
  if (manifest::ReadStatementUnverified(envelope_json,
                                        manifest::kWithdrawalReceiptKind)
          .ok()) {
    ASSIGN_OR_RETURN(verified.withdrawal,
                     manifest::OpenWithdrawalReceipt(envelope_json, signer));
    RETURN_IF_ERROR(
        CheckSigner(identity, verified.withdrawal->withdraw_time_s));
    RETURN_IF_ERROR(CheckFederation(verified.withdrawal->federation, identity));
    return verified;
  }
  ASSIGN_OR_RETURN(verified.purge,
                   manifest::OpenPurgeReceipt(envelope_json, signer));
  RETURN_IF_ERROR(CheckSigner(identity, verified.purge->purge_time_s));
  RETURN_IF_ERROR(CheckFederation(verified.purge->federation, identity));
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
