#pragma once

// Where SQLite's exceptions end.

#include <SQLiteCpp/SQLiteCpp.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status.h"

namespace tributary::contributor {

// DATA_LOSS for a damaged file or one that is no database, RESOURCE_EXHAUSTED
// for a full disk, INTERNAL otherwise.
Status SqliteStatus(const SQLite::Exception& error, const std::string& what);

// Runs `body`, which returns a Status or StatusOr.
template <typename Body>
auto CatchSqlite(const std::string& what, const Body& body)
    -> decltype(body()) {
  try {
    return body();
  } catch (const SQLite::Exception& error) {
    return SqliteStatus(error, what);
  }
}

// Opens or creates a database that may be thrown away: a killed process leaves
// it whole, a power cut may not. Nothing is written outside its folder.
StatusOr<std::unique_ptr<SQLite::Database>> OpenDatabase(
    const std::filesystem::path& path, const std::string& schema);

inline void BindBlob(SQLite::Statement& statement, int index,
                     std::string_view bytes) {
  statement.bindNoCopy(index, bytes.data(), static_cast<int>(bytes.size()));
}

inline std::string_view BlobColumn(SQLite::Statement& statement, int index) {
  const SQLite::Column column = statement.getColumn(index);
  return {static_cast<const char*>(column.getBlob()),
          static_cast<size_t>(column.getBytes())};
}

}  // namespace tributary::contributor
