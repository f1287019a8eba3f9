#include "coordinator/storage/request_store.h"

#include "coordinator/storage/query.h"

namespace tributary::coordinator {

StatusOr<std::optional<std::string>> RequestStore::Find(const RequestKey& key) {
  Query query(transaction_,
              "SELECT method, body_sha256, response FROM requests "
              "WHERE caller = ? AND request_id = ?",
              key.caller, key.request_id);
  if (!query.Next()) {
    return std::optional<std::string>();
  }
  if (query.Text(0) != key.method || query.Text(1) != key.body_sha256) {
    return InvalidArgument(
        "request_id: {} was used for another {} request; make a new id for "
        "every new request",
        key.request_id, query.Text(0));
  }
  return std::optional<std::string>(query.Text(2));
}

void RequestStore::Add(const RequestKey& key, std::string_view response,
                       int64_t now_s) {
  Execute(transaction_,
          "INSERT INTO requests (caller, request_id, method, body_sha256, "
          "response, create_time_s) VALUES (?, ?, ?, ?, ?, ?)",
          key.caller, key.request_id, key.method, key.body_sha256,
          SqlBytes{response}, now_s);
}

int RequestStore::RemoveBefore(int64_t time_s) {
  return Execute(transaction_, "DELETE FROM requests WHERE create_time_s < ?",
                 time_s);
}

}  // namespace tributary::coordinator
