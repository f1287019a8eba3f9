#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

struct RevokedReaderRow {
  std::string id;
  int64_t revoke_time_s = 0;
};

// Readers whose certificates are refused. Those that may read are not kept:
// their certificates say it.
class ReaderStore {
 public:
  explicit ReaderStore(Transaction& transaction) : transaction_(transaction) {}

  // Keeps the first time.
  void Revoke(std::string_view id, int64_t now_s);
  std::optional<RevokedReaderRow> FindRevoked(std::string_view id);
  // By id, behind `after`.
  std::vector<RevokedReaderRow> ListRevoked(std::string_view after,
                                            int64_t limit);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
