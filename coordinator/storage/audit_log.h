#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "common/base/json.h"
#include "common/manifest/audit_record.h"
#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// What happened: one row of the audit log.
struct AuditEntry {
  std::string actor;    // an identity, or "coordinator"
  std::string action;   // such as "contribution.accept"
  std::string subject;  // a resource name, may be empty
};

// Append-only and hash-chained; written in the transaction of what it records.
class AuditLog {
 public:
  explicit AuditLog(Transaction& transaction) : transaction_(transaction) {}

  Status Append(const AuditEntry& entry, const Json& detail, int64_t now_s);
  // Size and hash of the newest record.
  manifest::Chain Head();
  // The same after the first `size` records. OUT_OF_RANGE: there are fewer.
  StatusOr<manifest::Chain> At(int64_t size);
  // Follows the chain from its beginning, calling `visit` for every record.
  // DATA_LOSS names the first record that does not fit.
  StatusOr<manifest::Chain> Verify(
      const std::function<void(const manifest::AuditRecord&)>& visit);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
