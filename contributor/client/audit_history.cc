#include "contributor/client/audit_history.h"

#include <filesystem>
#include <map>
#include <string>

#include "common/base/files.h"
#include "common/manifest/audit_record.h"
#include "contributor/client/receipts.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxEnvelopeBytes = 1 << 20;

fs::path CheckpointFile(const Home& home) {
  return home.root() / "audit_checkpoint.dsse.json";
}

// A head of the log that the coordinator has signed, and where it is kept.
struct KnownHead {
  std::string head_hash;
  fs::path source;
};
using KnownHeads = std::map<int64_t, KnownHead>;  // by size

Status Rewritten(const KnownHead& known, const std::string& why) {
  return DataLoss(
      "the coordinator's audit log is not the one that it signed before ({}, "
      "kept in {}): ask its operator why; move that file away only when the "
      "answer satisfies you",
      why, known.source.string());
}

StatusOr<manifest::AuditCheckpoint> Ask(CoordinatorClient& client,
                                        const Identity& identity,
                                        int64_t size) {
  ASSIGN_OR_RETURN(const v1::Checkpoint answer, client.GetCheckpoint(size));
  StatusOr<manifest::AuditCheckpoint> checkpoint =
      manifest::OpenAuditCheckpoint(answer.envelope_json(),
                                    identity.signer.public_key());
  RETURN_IF_ERROR(Annotate(checkpoint.status(), "audit checkpoint"));
  if (checkpoint->federation != identity.federation) {
    return Unauthenticated("audit checkpoint: of federation {}, wanted {}",
                           checkpoint->federation, identity.federation);
  }
  return checkpoint;
}

// Heads from receipts. One that an earlier signing key made is left out.
KnownHeads HeadsInReceipts(const Home& home, const Identity& identity) {
  KnownHeads heads;
  std::error_code error;
  for (fs::directory_iterator entry(home.Receipts(), error), end;
       !error && entry != end; entry.increment(error)) {
    const auto text = ReadFile(entry->path(), kMaxEnvelopeBytes);
    const auto receipt = text.ok() ? VerifyReceipt(*text, identity)
                                   : StatusOr<VerifiedReceipt>(text.status());
    if (!receipt.ok()) {
      continue;
    }
    const manifest::AuditHead& head = receipt->withdrawal
                                          ? receipt->withdrawal->audit
                                          : receipt->purge->audit;
    heads[head.size] = {.head_hash = head.head_hash, .source = entry->path()};
  }
  return heads;
}

}  // namespace

Status CheckAuditHistory(const Home& home, const Identity& identity,
                         CoordinatorClient& client) {
  ASSIGN_OR_RETURN(const v1::Checkpoint answer, client.GetCheckpoint(0));
  ASSIGN_OR_RETURN(const manifest::AuditCheckpoint newest,
                   manifest::OpenAuditCheckpoint(answer.envelope_json(),
                                                 identity.signer.public_key()));
  KnownHeads heads = HeadsInReceipts(home, identity);
  const fs::path kept = CheckpointFile(home);
  if (const auto text = ReadFile(kept, kMaxEnvelopeBytes); text.ok()) {
    const auto older =
        manifest::OpenAuditCheckpoint(*text, identity.signer.public_key());
    if (older.ok()) {
      heads[older->size] = {.head_hash = older->head_hash, .source = kept};
      if (const Status order = manifest::CheckCheckpointOrder(*older, newest);
          !order.ok()) {
        return Rewritten(heads[older->size], std::string(order.message()));
      }
    }
  }
  for (const auto& [size, known] : heads) {
    if (size == 0) {
      continue;
    }
    const StatusOr<manifest::AuditCheckpoint> then =
        Ask(client, identity, size);
    if (absl::IsOutOfRange(then.status())) {
      return Rewritten(known,
                       fmt::format("it has fewer than {} records", size));
    }
    RETURN_IF_ERROR(then.status());
    if (then->size != size || then->head_hash != known.head_hash) {
      return Rewritten(
          known, fmt::format("after {} records its hash was {}, now it is {}",
                             size, known.head_hash, then->head_hash));
    }
  }
  return WriteFileAtomic(kept, answer.envelope_json());
}

}  // namespace tributary::contributor
