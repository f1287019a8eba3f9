#pragma once

// The contributor's ledger: a chain of records, each signed with the
// contributor's key of that time, one envelope a line.

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/chain_record.h"

namespace tributary::manifest {

using LedgerEntry = ChainRecord;

// Appends `entry` to `chain` (index and previous_hash are filled in; `chain` is
// as before on an error) and
// returns the line to store, without a line break: envelope JSON over a
// statement about {"ledger/{index}", hash of the entry}.
StatusOr<std::string> AppendLedgerEntry(LedgerEntry entry,
                                        const crypto::PrivateKey& key,
                                        Chain& chain);

// The entry of a line, without verifying its signature.
StatusOr<LedgerEntry> ReadLedgerEntryUnverified(std::string_view line);

// All entries of a ledger, verified: each is signed by one of `keys` and they
// form a chain from the beginning. DATA_LOSS or UNAUTHENTICATED naming the
// line otherwise. Ends `chain` at the head, ready for the next entry.
StatusOr<std::vector<LedgerEntry>> VerifyLedger(
    std::string_view jsonl, const std::vector<crypto::PublicKey>& keys,
    Chain& chain);

}  // namespace tributary::manifest
