#pragma once

// Statements with bound values. Only this folder includes it. Throws
// SQLite::Exception, which Database::Transact turns into a status.

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// Bytes that are not text.
struct SqlBytes {
  std::string_view bytes;
};

class Query {
 public:
  template <typename... Args>
  Query(Transaction& transaction, const char* sql, const Args&... args)
      : statement_(transaction.database(), sql) {
    int index = 0;
    (Bind(++index, args), ...);
  }

  // Steps to the next row; false behind the last one.
  bool Next() { return statement_.executeStep(); }
  // For statements without rows: how many rows changed.
  int Run() { return statement_.exec(); }

  std::string Text(int column) {
    return statement_.getColumn(column).getString();
  }
  int64_t Integer(int column) {
    return statement_.getColumn(column).getInt64();
  }
  double Real(int column) { return statement_.getColumn(column).getDouble(); }
  bool IsNull(int column) { return statement_.isColumnNull(column); }
  std::optional<int64_t> OptionalInteger(int column) {
    return IsNull(column) ? std::nullopt
                          : std::optional<int64_t>(Integer(column));
  }

 private:
  void Bind(int index, int64_t value) { statement_.bind(index, value); }
  void Bind(int index, int value) {
    statement_.bind(index, static_cast<int64_t>(value));
  }
  void Bind(int index, uint64_t value) {
    statement_.bind(index, static_cast<int64_t>(value));
  }
  void Bind(int index, double value) { statement_.bind(index, value); }
  void Bind(int index, const std::string& value) {
    statement_.bind(index, value);
  }
  void Bind(int index, std::string_view value) {
    statement_.bind(index, std::string(value));
  }
  void Bind(int index, const char* value) { statement_.bind(index, value); }
  void Bind(int index, const SqlBytes& value) {
    statement_.bind(index, value.bytes.data(),
                    static_cast<int>(value.bytes.size()));
  }
  template <typename T>
  void Bind(int index, const std::optional<T>& value) {
    if (value) {
      Bind(index, *value);
    } else {
      statement_.bind(index);
    }
  }

  SQLite::Statement statement_;
};

// Runs a statement without rows and returns how many rows it changed.
template <typename... Args>
int Execute(Transaction& transaction, const char* sql, const Args&... args) {
  return Query(transaction, sql, args...).Run();
}

}  // namespace tributary::coordinator
