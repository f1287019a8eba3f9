#pragma once

// Token ids of documents by the digest of their text: what makes a second run
// over the same documents tokenise nothing. One file belongs to one tokenizer
// and one way of using it. Nothing in it is needed: damaged entries are made
// again, a damaged file is thrown away.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace SQLite {
class Database;
class Statement;
}  // namespace SQLite

namespace tributary::contributor {

class TokenStore {
 public:
  // Opens `path`, or creates it; a file that is no such store is replaced.
  static StatusOr<std::unique_ptr<TokenStore>> Open(
      const std::filesystem::path& path);
  ~TokenStore();

  // The ids of the document with that digest (32 bytes), marked as used by this
  // run; nothing when it is not there or its bytes have changed. DATA_LOSS when
  // the file is damaged.
  StatusOr<std::optional<std::vector<int32_t>>> Find(std::string_view digest);

  Status Insert(std::string_view digest, std::span<const int32_t> ids);

  // Makes what was inserted visible to later runs.
  Status Commit();

  // Deletes entries until their ids take at most `max_bytes`: those that were
  // not used for longest first.
  Status Prune(uint64_t max_bytes);

  // Entries whose bytes had changed since they were written.
  int64_t damaged_entries() const { return damaged_entries_; }

 private:
  struct Statements;
  explicit TokenStore(std::unique_ptr<SQLite::Database> database);
  Status Prepare();
  Status Begin();

  std::unique_ptr<SQLite::Database> database_;
  std::unique_ptr<Statements> statements_;
  int64_t run_ = 0;
  bool in_transaction_ = false;
  int64_t damaged_entries_ = 0;
};

}  // namespace tributary::contributor
