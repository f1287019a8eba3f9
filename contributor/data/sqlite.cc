#include "contributor/data/sqlite.h"

#include <sqlite3.h>

namespace tributary::contributor {

Status SqliteStatus(const SQLite::Exception& error, const std::string& what) {
  switch (error.getErrorCode()) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return DataLoss("{}: {}", what, error.what());
    case SQLITE_FULL:
      return ResourceExhausted("{}: the disk is full", what);
    default:
      return Internal("{}: {}", what, error.what());
  }
}

StatusOr<std::unique_ptr<SQLite::Database>> OpenDatabase(
    const std::filesystem::path& path, const std::string& schema) {
  using Result = StatusOr<std::unique_ptr<SQLite::Database>>;
  return CatchSqlite(path.string(), [&]() -> Result {
    auto database = std::make_unique<SQLite::Database>(
        path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    database->exec("PRAGMA auto_vacuum = INCREMENTAL");
    database->exec("PRAGMA journal_mode = TRUNCATE");
    database->exec("PRAGMA synchronous = OFF");
    database->exec("PRAGMA temp_store = MEMORY");
    database->exec(schema);
    return database;
  });
}

}  // namespace tributary::contributor
