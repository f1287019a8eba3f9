#pragma once

// The coordinator's audit log: a chain of records and signed checkpoints of
// its head.

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/chain_record.h"

namespace tributary::manifest {

using AuditRecord = ChainRecord;

// The log's head at one moment.
struct AuditCheckpoint {
  std::string federation;
  int64_t size = 0;  // records
  std::string head_hash{kGenesisHash};
  int64_t time_s = 0;  // seconds since the Unix epoch

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  static StatusOr<AuditCheckpoint> FromJson(std::string_view json);

  friend bool operator==(const AuditCheckpoint&,
                         const AuditCheckpoint&) = default;
};

// Envelope JSON over a statement about {"audit", head_hash}.
StatusOr<std::string> SignAuditCheckpoint(const AuditCheckpoint& checkpoint,
                                          const crypto::PrivateKey& signer);
// INVALID_ARGUMENT when malformed, UNAUTHENTICATED when not signed by `signer`.
StatusOr<AuditCheckpoint> OpenAuditCheckpoint(std::string_view envelope_json,
                                              const crypto::PublicKey& signer);

// Whether `newer` may follow `older`: not shorter, not from before, the same
// hash at the same size. DATA_LOSS otherwise. (That one history extends the
// other is only seen with the records themselves.)
Status CheckCheckpointOrder(const AuditCheckpoint& older,
                            const AuditCheckpoint& newer);

}  // namespace tributary::manifest
