#include "contributor/data/token_store.h"

#include <cstring>
#include <system_error>
#include <utility>

#include "common/crypto/digest.h"
#include "contributor/data/sqlite.h"

namespace tributary::contributor {
namespace {

// `entries` is small and changes with every use; `bodies` holds the ids.
constexpr char kSchema[] = R"(
CREATE TABLE IF NOT EXISTS entries (
  digest BLOB PRIMARY KEY, used INTEGER NOT NULL, bytes INTEGER NOT NULL,
  checksum BLOB NOT NULL, body INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_by_use ON entries (used, bytes);
CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, ids BLOB NOT NULL);
)";
constexpr char kName[] = "token cache";

// Binds the ids to their document.
std::string Checksum(std::string_view digest, std::string_view ids) {
  crypto::Sha256 hash;
  hash.Update(digest);
  hash.Update(ids);
  return hash.Bytes();
}

}  // namespace

struct TokenStore::Statements {
  explicit Statements(SQLite::Database& database)
      : find(database,
             "SELECT used, checksum, ids FROM entries JOIN bodies "
             "ON bodies.id = entries.body WHERE digest = ?"),
        touch(database, "UPDATE entries SET used = ? WHERE digest = ?"),
        remove_body(database,
                    "DELETE FROM bodies WHERE id IN "
                    "(SELECT body FROM entries WHERE digest = ?)"),
        remove_entry(database, "DELETE FROM entries WHERE digest = ?"),
        insert_body(database, "INSERT INTO bodies (ids) VALUES (?)"),
        insert_entry(database,
                     "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)") {}

  SQLite::Statement find;
  SQLite::Statement touch;
  SQLite::Statement remove_body;
  SQLite::Statement remove_entry;
  SQLite::Statement insert_body;
  SQLite::Statement insert_entry;
};

TokenStore::TokenStore(std::unique_ptr<SQLite::Database> database)
    : database_(std::move(database)) {}

TokenStore::~TokenStore() = default;

StatusOr<std::unique_ptr<TokenStore>> TokenStore::Open(
    const std::filesystem::path& path) {
  for (int attempt = 0;; ++attempt) {
    auto database = OpenDatabase(path, kSchema);
    Status status = database.status();
    if (status.ok()) {
      std::unique_ptr<TokenStore> store(new TokenStore(*std::move(database)));
      status = store->Prepare();
      if (status.ok()) {
        return store;
      }
    }
    if (attempt > 0 || absl::IsResourceExhausted(status)) {
      return status;
    }
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    std::filesystem::remove(path.string() + "-journal", ignored);
  }
}

Status TokenStore::Prepare() {
  return CatchSqlite(kName, [&]() -> Status {
    statements_ = std::make_unique<Statements>(*database_);
    SQLite::Statement last(*database_, "SELECT MAX(used) FROM entries");
    run_ = (last.executeStep() ? last.getColumn(0).getInt64() : 0) + 1;
    return absl::OkStatus();
  });
}

Status TokenStore::Begin() {
  if (!in_transaction_) {
    database_->exec("BEGIN IMMEDIATE");
    in_transaction_ = true;
  }
  return absl::OkStatus();
}

StatusOr<std::optional<std::vector<int32_t>>> TokenStore::Find(
    std::string_view digest) {
  using Result = StatusOr<std::optional<std::vector<int32_t>>>;
  return CatchSqlite(kName, [&]() -> Result {
    SQLite::Statement& find = statements_->find;
    find.reset();
    BindBlob(find, 1, digest);
    if (!find.executeStep()) {
      return std::nullopt;
    }
    const bool used = find.getColumn(0).getInt64() == run_;
    const std::string_view bytes = BlobColumn(find, 2);
    if (bytes.size() % sizeof(int32_t) != 0 ||
        BlobColumn(find, 1) != Checksum(digest, bytes)) {
      find.reset();
      ++damaged_entries_;
      return std::nullopt;
    }
    std::vector<int32_t> ids(bytes.size() / sizeof(int32_t));
    if (!ids.empty()) {
      std::memcpy(ids.data(), bytes.data(), bytes.size());
    }
    find.reset();
    if (!used) {
      RETURN_IF_ERROR(Begin());
      statements_->touch.reset();
      statements_->touch.bind(1, run_);
      BindBlob(statements_->touch, 2, digest);
      statements_->touch.exec();
    }
    return ids;
  });
}

Status TokenStore::Insert(std::string_view digest,
                          std::span<const int32_t> ids) {
  return CatchSqlite(kName, [&]() -> Status {
    RETURN_IF_ERROR(Begin());
    const std::string_view bytes(reinterpret_cast<const char*>(ids.data()),
                                 ids.size_bytes());
    Statements& to = *statements_;
    to.remove_body.reset();
    BindBlob(to.remove_body, 1, digest);
    to.remove_body.exec();
    to.insert_body.reset();
    to.insert_body.bindNoCopy(1, bytes.empty() ? "" : bytes.data(),
                              static_cast<int>(bytes.size()));
    to.insert_body.exec();
    const std::string checksum = Checksum(digest, bytes);
    to.insert_entry.reset();
    BindBlob(to.insert_entry, 1, digest);
    to.insert_entry.bind(2, run_);
    to.insert_entry.bind(3, static_cast<int64_t>(bytes.size()));
    BindBlob(to.insert_entry, 4, checksum);
    to.insert_entry.bind(5, database_->getLastInsertRowid());
    to.insert_entry.exec();
    return absl::OkStatus();
  });
}

Status TokenStore::Commit() {
  return CatchSqlite(kName, [&]() -> Status {
    if (in_transaction_) {
      database_->exec("COMMIT");
      in_transaction_ = false;
    }
    return absl::OkStatus();
  });
}

Status TokenStore::Prune(uint64_t max_bytes) {
  RETURN_IF_ERROR(Commit());
  return CatchSqlite(kName, [&]() -> Status {
    SQLite::Statement sum(*database_, "SELECT TOTAL(bytes) FROM entries");
    sum.executeStep();
    double bytes = sum.getColumn(0).getDouble();
    sum.reset();
    if (bytes <= static_cast<double>(max_bytes)) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Begin());
    // The oldest first; among equally old ones any.
    SQLite::Statement oldest(
        *database_, "SELECT digest, bytes FROM entries ORDER BY used LIMIT 1");
    while (bytes > static_cast<double>(max_bytes) && oldest.executeStep()) {
      const std::string digest(BlobColumn(oldest, 0));
      bytes -= oldest.getColumn(1).getDouble();
      oldest.reset();
      for (SQLite::Statement* remove :
           {&statements_->remove_body, &statements_->remove_entry}) {
        remove->reset();
        BindBlob(*remove, 1, digest);
        remove->exec();
      }
    }
    oldest.reset();
    RETURN_IF_ERROR(Commit());
    database_->exec("PRAGMA incremental_vacuum");
    return absl::OkStatus();
  });
}

}  // namespace tributary::contributor
