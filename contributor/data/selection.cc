#include "contributor/data/selection.h"

#include <algorithm>
#include <limits>
#include <system_error>
#include <utility>

#include "contributor/data/sqlite.h"

namespace tributary::contributor {
namespace {

constexpr char kName[] = "selection of documents";
constexpr char kSchema[] = R"(
CREATE TABLE documents (
  side INTEGER NOT NULL, digest BLOB NOT NULL, first INTEGER NOT NULL,
  tokens INTEGER NOT NULL, PRIMARY KEY (side, digest)) WITHOUT ROWID;
CREATE TABLE excluded (digest BLOB PRIMARY KEY) WITHOUT ROWID;
)";
// A digest's first byte below this is held out: 32 of 256.
constexpr unsigned char kHeldOutBelow = 32;
constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

size_t Index(Side side) { return static_cast<size_t>(side); }

void RemoveFiles(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  std::filesystem::remove(path.string() + "-journal", ignored);
}

}  // namespace

struct Selection::Statements {
  explicit Statements(SQLite::Database& database)
      : exclude(database, "INSERT OR IGNORE INTO excluded VALUES (?)"),
        is_excluded(database, "SELECT 1 FROM excluded WHERE digest = ?"),
        add(database, "INSERT OR IGNORE INTO documents VALUES (?, ?, ?, ?)"),
        lowest(database,
               "SELECT digest FROM documents WHERE side = ? AND tokens >= ? "
               "ORDER BY digest LIMIT 1"),
        highest(database,
                "SELECT digest FROM documents WHERE side = ? AND tokens >= ? "
                "ORDER BY digest DESC LIMIT 1"),
        move(database, "UPDATE documents SET side = ? WHERE digest = ?"),
        list(database,
             "SELECT digest, first, tokens FROM documents WHERE side = ? "
             "ORDER BY digest") {}

  SQLite::Statement exclude;
  SQLite::Statement is_excluded;
  SQLite::Statement add;
  SQLite::Statement lowest;
  SQLite::Statement highest;
  SQLite::Statement move;
  SQLite::Statement list;
};

Side SideOf(std::string_view digest) {
  return static_cast<unsigned char>(digest[0]) < kHeldOutBelow ? Side::kHeldOut
                                                               : Side::kTrain;
}

Selection::Selection(std::filesystem::path path,
                     const SelectionOptions& options,
                     std::unique_ptr<SQLite::Database> database)
    : path_(std::move(path)),
      options_(options),
      database_(std::move(database)) {}

Selection::~Selection() {
  statements_.reset();
  database_.reset();
  RemoveFiles(path_);
}

StatusOr<std::unique_ptr<Selection>> Selection::Create(
    const std::filesystem::path& path, const SelectionOptions& options) {
  RemoveFiles(path);
  ASSIGN_OR_RETURN(auto database, OpenDatabase(path, kSchema));
  std::unique_ptr<Selection> selection(
      new Selection(path, options, std::move(database)));
  RETURN_IF_ERROR(CatchSqlite(kName, [&]() -> Status {
    selection->database_->exec("BEGIN");
    selection->statements_ =
        std::make_unique<Statements>(*selection->database_);
    return absl::OkStatus();
  }));
  return selection;
}

Status Selection::Exclude(std::string_view digest) {
  return CatchSqlite(kName, [&]() -> Status {
    statements_->exclude.reset();
    BindBlob(statements_->exclude, 1, digest);
    statements_->exclude.exec();
    return absl::OkStatus();
  });
}

StatusOr<bool> Selection::IsExcluded(std::string_view digest) {
  return CatchSqlite(kName, [&]() -> StatusOr<bool> {
    statements_->is_excluded.reset();
    BindBlob(statements_->is_excluded, 1, digest);
    return statements_->is_excluded.executeStep();
  });
}

int64_t Selection::Share(int64_t tokens) const {
  if (options_.packing == SelectionOptions::Packing::kShared) {
    return tokens < 2 ? 0 : std::min(tokens, options_.window_tokens);
  }
  return tokens < options_.window_tokens ? 0 : 1;
}

int64_t Selection::OneWindow() const {
  return options_.packing == SelectionOptions::Packing::kShared
             ? options_.window_tokens
             : 1;
}

int64_t Selection::Needed(Side side) const {
  const int64_t windows = options_.max_windows[Index(side)];
  int64_t needed = 0;
  return windows == 0 ||
                 __builtin_mul_overflow(windows, OneWindow(), &needed) ||
                 needed > kAll - OneWindow()
             ? kAll
             : needed;
}

bool Selection::Wants(Side side, std::string_view digest) const {
  const Least& least = least_[Index(side)];
  // Until it is known what else there is, a document may have to change sides.
  const bool may_move =
      !several_sources_ ||
      (side == Side::kHeldOut && usable_[Index(Side::kTrain)] == 0);
  const int64_t needed = Needed(side);
  return may_move || needed == kAll || least.sum < needed + OneWindow() ||
         digest < least.kept.rbegin()->first;
}

Status Selection::Add(Side side, std::string_view digest,
                      std::string_view source, int64_t tokens) {
  if (first_source_.empty()) {
    first_source_ = source;
  }
  several_sources_ |= source != first_source_;
  bool is_new = false;
  RETURN_IF_ERROR(CatchSqlite(kName, [&]() -> Status {
    SQLite::Statement& add = statements_->add;
    add.reset();
    add.bind(1, static_cast<int>(side));
    BindBlob(add, 2, digest);
    add.bind(3, digest == source ? 1 : 0);
    add.bind(4, tokens);
    is_new = add.exec() > 0;
    return absl::OkStatus();
  }));
  const int64_t share = Share(tokens);
  if (!is_new || share == 0) {
    return absl::OkStatus();
  }
  ++usable_[Index(side)];
  const int64_t needed = Needed(side);
  if (needed == kAll) {
    return absl::OkStatus();
  }
  // One document more than needed is kept, for Balance may take one.
  Least& least = least_[Index(side)];
  least.kept.emplace(digest, share);
  least.sum += share;
  while (least.sum - least.kept.rbegin()->second >= needed + OneWindow()) {
    least.sum -= least.kept.rbegin()->second;
    least.kept.erase(std::prev(least.kept.end()));
  }
  return absl::OkStatus();
}

Status Selection::Move(Side from, bool lowest) {
  return CatchSqlite(kName, [&]() -> Status {
    SQLite::Statement& find =
        lowest ? statements_->lowest : statements_->highest;
    find.reset();
    find.bind(1, static_cast<int>(from));
    find.bind(2, options_.packing == SelectionOptions::Packing::kShared
                     ? int64_t{2}
                     : options_.window_tokens);
    if (!find.executeStep()) {
      return absl::OkStatus();
    }
    const std::string digest(BlobColumn(find, 0));
    find.reset();
    SQLite::Statement& move = statements_->move;
    move.reset();
    move.bind(1, from == Side::kTrain ? 1 : 0);
    BindBlob(move, 2, digest);
    move.exec();
    return absl::OkStatus();
  });
}

Status Selection::Balance() {
  if (!several_sources_ && usable_[0] + usable_[1] > 1) {
    // One long document: its parts are split as documents would be.
    RETURN_IF_ERROR(CatchSqlite(kName, [&]() -> Status {
      database_->exec(
          "UPDATE documents SET side = substr(digest, 1, 1) < x'20'");
      SQLite::Statement count(*database_,
                              "SELECT COUNT(*) FROM documents "
                              "WHERE side = ? AND tokens >= ?");
      for (int side = 0; side < 2; ++side) {
        count.reset();
        count.bind(1, side);
        count.bind(2, options_.packing == SelectionOptions::Packing::kShared
                          ? int64_t{2}
                          : options_.window_tokens);
        count.executeStep();
        usable_[static_cast<size_t>(side)] = count.getColumn(0).getInt64();
      }
      return absl::OkStatus();
    }));
  }
  if (usable_[Index(Side::kHeldOut)] == 0 && usable_[Index(Side::kTrain)] > 1) {
    return Move(Side::kTrain, true);
  }
  if (usable_[Index(Side::kTrain)] == 0 && usable_[Index(Side::kHeldOut)] > 1) {
    return Move(Side::kHeldOut, false);
  }
  return absl::OkStatus();
}

Status Selection::ForEach(
    Side side, int64_t* skipped,
    const std::function<Status(const SelectedDocument&)>& visit) {
  return CatchSqlite(kName, [&]() -> Status {
    const int64_t needed = Needed(side);
    int64_t sum = 0;
    *skipped = 0;
    SQLite::Statement& list = statements_->list;
    list.reset();
    list.bind(1, static_cast<int>(side));
    while (sum < needed && list.executeStep()) {
      const SelectedDocument document = {
          .digest = std::string(BlobColumn(list, 0)),
          .first_part = list.getColumn(1).getInt() != 0,
          .tokens = list.getColumn(2).getInt64()};
      const int64_t share = Share(document.tokens);
      if (share == 0) {
        ++*skipped;
        continue;
      }
      sum += share;
      const Status status = visit(document);
      if (!status.ok()) {
        list.reset();
        return status;
      }
    }
    list.reset();
    return absl::OkStatus();
  });
}

}  // namespace tributary::contributor
