#include "coordinator/storage/upload_store.h"

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

constexpr char kSelectUpload[] =
    "SELECT contribution, blob, upload_id, size_bytes, committed_size, "
    "complete, epoch, expire_time_s, hash_state FROM uploads ";

UploadRow ReadUpload(Query& query) {
  return {.contribution = query.Text(0),
          .blob = query.Text(1),
          .upload_id = query.Text(2),
          .size_bytes = query.Integer(3),
          .committed_size = query.Integer(4),
          .complete = query.Integer(5) != 0,
          .epoch = query.Integer(6),
          .expire_time_s = query.Integer(7),
          .hash_state = query.Text(8)};
}

template <typename... Args>
std::vector<UploadRow> ReadUploads(Transaction& transaction, const char* rest,
                                   const Args&... args) {
  Query query(transaction, (std::string(kSelectUpload) + rest).c_str(),
              args...);
  std::vector<UploadRow> rows;
  while (query.Next()) {
    rows.push_back(ReadUpload(query));
  }
  return rows;
}

}  // namespace

std::optional<UploadRow> UploadStore::Find(std::string_view contribution,
                                           std::string_view blob) {
  const std::vector<UploadRow> rows = ReadUploads(
      transaction_, "WHERE contribution = ? AND blob = ?", contribution, blob);
  return rows.empty() ? std::nullopt : std::optional<UploadRow>(rows[0]);
}

void UploadStore::Put(const UploadRow& row) {
  Execute(transaction_,
          "INSERT INTO uploads (contribution, blob, upload_id, size_bytes, "
          "committed_size, complete, epoch, expire_time_s, hash_state) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
          "ON CONFLICT (contribution, blob) DO UPDATE SET "
          "upload_id = excluded.upload_id, size_bytes = excluded.size_bytes, "
          "committed_size = excluded.committed_size, "
          "complete = excluded.complete, epoch = excluded.epoch, "
          "expire_time_s = excluded.expire_time_s, "
          "hash_state = excluded.hash_state",
          row.contribution, row.blob, row.upload_id, row.size_bytes,
          row.committed_size, row.complete ? 1 : 0, row.epoch,
          row.expire_time_s, row.hash_state);
}

bool UploadStore::SetCommitted(const UploadRow& row, int64_t committed_size,
                               int64_t expire_time_s) {
  return Execute(transaction_,
                 "UPDATE uploads SET committed_size = max(committed_size, ?), "
                 "expire_time_s = ?, hash_state = ? WHERE upload_id = ? AND "
                 "epoch = ? AND complete = 0",
                 committed_size, expire_time_s, row.hash_state, row.upload_id,
                 row.epoch) == 1;
}

bool UploadStore::SetComplete(const UploadRow& row) {
  return Execute(transaction_,
                 "UPDATE uploads SET committed_size = size_bytes, "
                 "complete = 1, hash_state = '' "
                 "WHERE upload_id = ? AND epoch = ?",
                 row.upload_id, row.epoch) == 1;
}

void UploadStore::Remove(std::string_view contribution, std::string_view blob) {
  Execute(transaction_,
          "DELETE FROM uploads WHERE contribution = ? AND blob = ?",
          contribution, blob);
}

std::vector<UploadRow> UploadStore::ListOf(std::string_view contribution) {
  return ReadUploads(transaction_, "WHERE contribution = ? ORDER BY blob",
                     contribution);
}

std::vector<UploadRow> UploadStore::ListExpired(int64_t now_s) {
  return ReadUploads(transaction_, "WHERE complete = 0 AND expire_time_s < ?",
                     now_s);
}

std::vector<UploadRow> UploadStore::ListUnfinished(int64_t limit) {
  return ReadUploads(transaction_,
                     "WHERE complete = 0 ORDER BY contribution, blob LIMIT ?",
                     limit);
}

std::vector<std::string> UploadStore::ListIds() {
  Query query(transaction_, "SELECT upload_id FROM uploads ORDER BY upload_id");
  std::vector<std::string> ids;
  while (query.Next()) {
    ids.push_back(query.Text(0));
  }
  return ids;
}

bool UploadStore::HasComplete(std::string_view contributor,
                              std::string_view blob) {
  Query query(transaction_,
              "SELECT 1 FROM uploads JOIN contributions "
              "ON contributions.id = uploads.contribution "
              "WHERE contributor = ? AND uploads.blob = ? AND complete = 1 "
              "AND state NOT IN ('WITHDRAWN', 'PURGED') LIMIT 1",
              contributor, blob);
  return query.Next();
}

int64_t UploadStore::ReservedBytes(std::string_view contributor,
                                   std::string_view except_contribution) {
  Query query(transaction_,
              "SELECT coalesce(sum(size_bytes), 0) - coalesce((SELECT "
              "size_bytes FROM contributions WHERE id = ?2 AND contributor = "
              "?1 AND state NOT IN ('WITHDRAWN', 'PURGED', 'REJECTED')), 0) "
              "FROM contributions WHERE contributor = ?1 AND "
              "state NOT IN ('WITHDRAWN', 'PURGED', 'REJECTED')",
              contributor, except_contribution);
  query.Next();
  return query.Integer(0);
}

}  // namespace tributary::coordinator
