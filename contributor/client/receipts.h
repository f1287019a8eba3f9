#pragma once

// The signed proofs of a withdrawal, kept on site and checked there.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/manifest/receipts.h"
#include "contributor/cache/home.h"
#include "contributor/client/identity.h"
#include "tributary/v1/contribution.pb.h"

namespace tributary::contributor {

// A receipt whose signature holds.
struct VerifiedReceipt {
  std::optional<manifest::WithdrawalReceipt> withdrawal;
  std::optional<manifest::PurgeReceipt> purge;  // exactly one of the two
};

// Verifies a receipt against the federation's CA, without a network.
// UNAUTHENTICATED when the signature or the signer's certificate does not hold
// or the receipt is of another federation; INVALID_ARGUMENT when malformed.
StatusOr<VerifiedReceipt> VerifyReceipt(std::string_view envelope_json,
                                        const Identity& identity);

// Where the receipts of a withdrawal are kept.
std::filesystem::path WithdrawalReceiptPath(const Home& home,
                                            const std::string& contribution);
std::filesystem::path PurgeReceiptPath(const Home& home,
                                       const std::string& contribution);

// Verifies and stores the receipts that `withdrawal` has by now.
// UNAUTHENTICATED when one does not hold or is for another contribution.
Status StoreReceipts(const Home& home, const Identity& identity,
                     const v1::Withdrawal& withdrawal);

}  // namespace tributary::contributor
