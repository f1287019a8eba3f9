#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// A request as far as repeating it goes.
struct RequestKey {
  std::string caller;
  std::string request_id;
  std::string method;
  std::string body_sha256;
};

// Answers of mutating requests, written in the transaction of the mutation.
class RequestStore {
 public:
  explicit RequestStore(Transaction& transaction) : transaction_(transaction) {}

  // The stored answer, or nothing. INVALID_ARGUMENT: the id was used for
  // another request.
  StatusOr<std::optional<std::string>> Find(const RequestKey& key);
  void Add(const RequestKey& key, std::string_view response, int64_t now_s);
  // Forgets answers from before `time_s`.
  int RemoveBefore(int64_t time_s);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
