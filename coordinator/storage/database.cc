#include "coordinator/storage/database.h"

#include <SQLiteCpp/Backup.h>
#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <string>

#include "common/base/exit_code.h"
#include "coordinator/storage/schema.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr int kBusyMs = 10'000;

Status FromSqlite(const SQLite::Exception& error, const std::string& what) {
  const std::string message = what + ": " + error.what();
  switch (error.getErrorCode()) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_CANTOPEN:
      return absl::NotFoundError(message);
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(message);
  }
}

int64_t Pragma(SQLite::Database& database, const char* name) {
  return database.execAndGet(std::string("PRAGMA ") + name).getInt64();
}

// Brings the schema up to date, one transaction per version.
Status Migrate(SQLite::Database& database, const fs::path& path,
               Database::Mode mode) {
  const int64_t application = Pragma(database, "application_id");
  const int64_t version = Pragma(database, "user_version");
  const bool is_new =
      application == 0 && version == 0 &&
      database.execAndGet("SELECT count(*) FROM sqlite_schema").getInt64() == 0;
  if (!is_new && application != kApplicationId) {
    return FailedPrecondition(
        "{}: application_id is {}, wanted {}: not a coordinator's database",
        path.string(), application, kApplicationId);
  }
  const int64_t newest = static_cast<int64_t>(Migrations().size());
  if (version > newest) {
    return WithExitCode(
        FailedPrecondition("{}: was written by a newer version: its schema is "
                           "{}, this program knows up to {}; use the newer "
                           "program or restore a backup",
                           path.string(), version, newest),
        ExitCode::kNewerSchema);
  }
  if (version < newest && mode == Database::Mode::kReadOnly) {
    return FailedPrecondition(
        "{}: schema {} is older than {}; start `serve` once to migrate it",
        path.string(), version, newest);
  }
  for (int64_t next = version; next < newest; ++next) {
    SQLite::Transaction transaction(database);
    database.exec(Migrations()[static_cast<size_t>(next)]);
    database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
    database.exec("PRAGMA user_version = " + std::to_string(next + 1));
    transaction.commit();
  }
  return absl::OkStatus();
}

}  // namespace

Database::Database(std::unique_ptr<SQLite::Database> connection, Mode mode)
    : connection_(std::move(connection)), mode_(mode) {}

Database::~Database() = default;

StatusOr<std::unique_ptr<Database>> Database::Open(const fs::path& path,
                                                   Mode mode) {
  std::error_code error;
  if (mode != Mode::kCreate && !fs::exists(path, error)) {
    return NotFound("{}: no such database; run `init` first", path.string());
  }
  try {
    const int flags =
        mode == Mode::kReadOnly
            ? SQLite::OPEN_READONLY
            : SQLite::OPEN_READWRITE |
                  (mode == Mode::kCreate ? SQLite::OPEN_CREATE : 0);
    auto connection =
        std::make_unique<SQLite::Database>(path.string(), flags, kBusyMs);
    connection->exec("PRAGMA foreign_keys = ON");
    connection->exec("PRAGMA trusted_schema = OFF");
    if (mode != Mode::kReadOnly) {
      connection->exec("PRAGMA synchronous = FULL");
      connection->execAndGet("PRAGMA journal_mode = DELETE");
      // Deleted rows leave no trace in the file.
      connection->execAndGet("PRAGMA secure_delete = ON");
    }
    RETURN_IF_ERROR(Migrate(*connection, path, mode));
    return std::unique_ptr<Database>(new Database(std::move(connection), mode));
  } catch (const SQLite::Exception& exception) {
    return FromSqlite(exception, path.string());
  }
}

Status Database::Transact(const std::function<Status(Transaction&)>& body) {
  bool changed = false;
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int before = connection_->getTotalChanges();
    SQLite::Transaction guard(*connection_,
                              mode_ == Mode::kReadOnly
                                  ? SQLite::TransactionBehavior::DEFERRED
                                  : SQLite::TransactionBehavior::IMMEDIATE);
    Transaction transaction(*connection_);
    RETURN_IF_ERROR(body(transaction));
    if (before_commit_) {
      RETURN_IF_ERROR(before_commit_());
    }
    guard.commit();
    changed = connection_->getTotalChanges() != before;
  } catch (const SQLite::Exception& exception) {
    return FromSqlite(exception, "database");
  }
  if (changed) {
    {
      const std::lock_guard<std::mutex> lock(change_mutex_);
      changes_.fetch_add(1);
    }
    change_.notify_all();
  }
  return absl::OkStatus();
}

uint64_t Database::WaitForChange(uint64_t seen,
                                 std::chrono::milliseconds timeout) {
  std::unique_lock<std::mutex> lock(change_mutex_);
  change_.wait_for(lock, timeout, [&] { return changes_.load() != seen; });
  return changes_.load();
}

Status Database::CheckIntegrity() {
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::string found =
        connection_->execAndGet("PRAGMA integrity_check(1)").getString();
    if (found != "ok") {
      return DataLoss("database: {}", found);
    }
    SQLite::Statement broken(*connection_, "PRAGMA foreign_key_check");
    if (broken.executeStep()) {
      return DataLoss("database: a row of {} refers to one that is gone",
                      broken.getColumn(0).getString());
    }
    return absl::OkStatus();
  } catch (const SQLite::Exception& exception) {
    return FromSqlite(exception, "database");
  }
}

Status Database::BackUp(const fs::path& target) {
  std::error_code error;
  if (fs::exists(target, error)) {
    return AlreadyExists("{} is there already", target.string());
  }
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    SQLite::Database copy(target.string(),
                          SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    SQLite::Backup backup(copy, *connection_);
    backup.executeStep();
    return absl::OkStatus();
  } catch (const SQLite::Exception& exception) {
    return FromSqlite(exception, target.string());
  }
}

}  // namespace tributary::coordinator
