#pragma once

#include <nlohmann/json_fwd.hpp>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/status.h"
#include "common/crypto/key.h"
#include "coordinator/storage/audit_log.h"
#include "coordinator/storage/blob_catalog.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/home.h"
#include "coordinator/storage/settings.h"

namespace tributary::coordinator {

// What every part of a running coordinator shares. Owns nothing; all of it
// outlives its users.
struct Core {
  const Home& home;
  const Settings& settings;
  const Clock& clock;
  Database& database;
  BlobCatalog& catalog;
  // Signs anchors, releases, receipts and checkpoints.
  const crypto::PrivateKey& signer;

  int64_t now_s() const { return static_cast<int64_t>(clock.NowSeconds()); }

  // Appends to the audit log in the transaction of what is recorded.
  Status Audit(Transaction& transaction, const AuditEntry& entry,
               const Json& detail) const {
    return AuditLog(transaction).Append(entry, detail, now_s());
  }
};

// The actor of what the coordinator does by itself.
inline constexpr char kCoordinatorActor[] = "coordinator";

}  // namespace tributary::coordinator
