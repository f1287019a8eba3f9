#include "coordinator/storage/audit_log.h"

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

// Records that one call of List reads at most.
constexpr int64_t kMaxLookedAt = 20'000;

}  // namespace

manifest::Chain AuditLog::Head() {
  Query query(transaction_,
              "SELECT position, hash FROM audit ORDER BY position DESC "
              "LIMIT 1");
  if (!query.Next()) {
    return {};
  }
  return manifest::Chain(query.Integer(0) + 1, query.Text(1));
}

StatusOr<manifest::Chain> AuditLog::At(int64_t size) {
  Query query(transaction_, "SELECT hash FROM audit WHERE position = ?",
              size - 1);
  if (!query.Next()) {
    return OutOfRange("size: got {}, the audit log has {} records", size,
                      Head().size());
  }
  return manifest::Chain(size, query.Text(0));
}

Status AuditLog::Append(const AuditEntry& entry, const Json& detail,
                        int64_t now_s) {
  manifest::Chain chain = Head();
  const int64_t position = chain.size();
  manifest::AuditRecord record;
  record.time_s = now_s;
  record.actor = entry.actor;
  record.action = entry.action;
  record.subject = entry.subject;
  ASSIGN_OR_RETURN(record.detail_json, DumpJson(detail));
  ASSIGN_OR_RETURN(const std::string bytes, chain.Append(std::move(record)));
  Execute(transaction_,
          "INSERT INTO audit (position, record_json, hash) VALUES (?, ?, ?)",
          position, bytes, chain.head_hash());
  return absl::OkStatus();
}

AuditLog::Slice AuditLog::List(const Range& range) {
  Query query(transaction_,
              "SELECT position, record_json, hash FROM audit "
              "WHERE position >= ? AND position < ? AND "
              "(? = '' OR json_extract(record_json, '$.subject') = ?) "
              "ORDER BY position LIMIT ?",
              range.first, range.first + kMaxLookedAt, range.subject,
              range.subject, range.limit);
  Slice slice;
  while (query.Next()) {
    slice.records.push_back({.position = query.Integer(0),
                             .record_json = query.Text(1),
                             .hash = query.Text(2)});
  }
  slice.next = static_cast<int64_t>(slice.records.size()) == range.limit
                   ? slice.records.back().position + 1
                   : range.first + kMaxLookedAt;
  return slice;
}

StatusOr<manifest::Chain> AuditLog::Verify(
    const std::function<void(const manifest::AuditRecord&)>& visit) {
  manifest::Chain chain;
  Query query(transaction_,
              "SELECT position, record_json, hash FROM audit "
              "ORDER BY position");
  while (query.Next()) {
    const int64_t position = query.Integer(0);
    const StatusOr<manifest::AuditRecord> record = chain.Verify(query.Text(1));
    if (!record.ok()) {
      return DataLoss("audit record {}: {}", position,
                      std::string(record.status().message()));
    }
    if (position != record->index || chain.head_hash() != query.Text(2)) {
      return DataLoss("audit record {}: position or hash were altered",
                      position);
    }
    visit(*record);
  }
  return chain;
}

}  // namespace tributary::coordinator
