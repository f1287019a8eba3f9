#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

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

// A record as it is stored.
struct StoredAuditRecord {
  int64_t position = 0;
  std::string record_json;
  std::string hash;
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
  // Which records are wanted.
  struct Range {
    int64_t first = 0;  // position
    int64_t limit = 50;
    std::string subject;  // empty: about anything
  };
  // Records of a range, and the position to go on at. A slice may be empty
  // although more follow: the log is looked at in bounded pieces.
  struct Slice {
    std::vector<StoredAuditRecord> records;
    int64_t next = 0;
  };
  Slice List(const Range& range);
  // Follows the chain from its beginning, calling `visit` for every record.
  // DATA_LOSS names the first record that does not fit.
  StatusOr<manifest::Chain> Verify(
      const std::function<void(const manifest::AuditRecord&)>& visit);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
