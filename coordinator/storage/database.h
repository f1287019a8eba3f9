#pragma once

// The coordinator's state in SQLite: state, never weights. One connection
// behind a mutex, rollback journal, synchronous FULL: a committed transaction
// survives power loss.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "common/base/status.h"

namespace SQLite {
class Database;
}

namespace tributary::coordinator {

// A running transaction. Only Database makes one; the stores of this folder
// are views of it and live no longer. SQLite's exceptions pass through the
// stores and the body and end in Database::Transact.
class Transaction {
 public:
  SQLite::Database& database() { return database_; }

 private:
  friend class Database;
  explicit Transaction(SQLite::Database& database) : database_(database) {}
  SQLite::Database& database_;
};

class Database {
 public:
  enum class Mode {
    kCreate,    // a new file, or an existing one, brought up to date
    kExisting,  // an existing file, brought up to date
    kReadOnly,  // an existing file as it is
  };

  // NOT_FOUND: there is no such file. FAILED_PRECONDITION: not a database of
  // this program, or of a newer version (ExitCode::kNewerSchema); DATA_LOSS: a
  // damaged file.
  static StatusOr<std::unique_ptr<Database>> Open(
      const std::filesystem::path& path, Mode mode);
  ~Database();

  // Runs `body` in one transaction: committed when it returns OK, rolled back
  // otherwise. Further errors: RESOURCE_EXHAUSTED (disk full), UNAVAILABLE
  // (locked by another process for 10 s), ALREADY_EXISTS (a key is taken),
  // DATA_LOSS, INTERNAL. Must not be called by `body`.
  Status Transact(const std::function<Status(Transaction&)>& body);

  // The same for bodies that return StatusOr<T>.
  template <typename Body>
  auto Get(Body&& body) -> decltype(body(std::declval<Transaction&>())) {
    std::optional<decltype(body(std::declval<Transaction&>()))> result;
    const Status status = Transact([&](Transaction& transaction) {
      result.emplace(body(transaction));
      return result->status();
    });
    if (!status.ok()) {
      return status;
    }
    return *std::move(result);
  }

  // For tests of crashes: called before each commit; an error rolls back, as a
  // full disk does.
  void set_before_commit(std::function<Status()> hook) {
    before_commit_ = std::move(hook);
  }

  // Counts transactions that changed something; WaitForChange returns when the
  // count differs from `seen` or the time is over.
  uint64_t changes() const { return changes_.load(); }
  uint64_t WaitForChange(uint64_t seen, std::chrono::milliseconds timeout);

  // DATA_LOSS unless the whole file is sound and every reference leads
  // somewhere. Reads all of it.
  Status CheckIntegrity();

  // A consistent copy into a new file, also while another process serves.
  // ALREADY_EXISTS when `target` is there.
  Status BackUp(const std::filesystem::path& target);

 private:
  Database(std::unique_ptr<SQLite::Database> connection, Mode mode);

  const std::unique_ptr<SQLite::Database> connection_;
  const Mode mode_;
  std::function<Status()> before_commit_;
  std::mutex mutex_;  // guards the connection
  std::mutex change_mutex_;
  std::condition_variable change_;
  std::atomic<uint64_t> changes_{0};
};

}  // namespace tributary::coordinator
