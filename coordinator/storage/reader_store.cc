#include "coordinator/storage/reader_store.h"

#include "coordinator/storage/query.h"

namespace tributary::coordinator {

void ReaderStore::Revoke(std::string_view id, int64_t now_s) {
  Execute(transaction_,
          "INSERT INTO revoked_readers (id, revoke_time_s) VALUES (?, ?) "
          "ON CONFLICT (id) DO NOTHING",
          id, now_s);
}

std::optional<RevokedReaderRow> ReaderStore::FindRevoked(std::string_view id) {
  Query query(transaction_,
              "SELECT id, revoke_time_s FROM revoked_readers WHERE id = ?", id);
  if (!query.Next()) {
    return std::nullopt;
  }
  return RevokedReaderRow{.id = query.Text(0),
                          .revoke_time_s = query.Integer(1)};
}

std::vector<RevokedReaderRow> ReaderStore::ListRevoked(std::string_view after,
                                                       int64_t limit) {
  Query query(transaction_,
              "SELECT id, revoke_time_s FROM revoked_readers WHERE id > ? "
              "ORDER BY id LIMIT ?",
              after, limit);
  std::vector<RevokedReaderRow> rows;
  while (query.Next()) {
    rows.push_back({.id = query.Text(0), .revoke_time_s = query.Integer(1)});
  }
  return rows;
}

}  // namespace tributary::coordinator
