// Databases of every older version of the schema become today's and lose
// nothing. The fixtures were written by the programs of their time.

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>

#include "common/base/files.h"
#include "coordinator/storage/schema.h"
#include "tests/coordinator/storage/sample_state.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> SchemaOf(const fs::path& path) {
  SQLite::Database database(path.string(), SQLite::OPEN_READONLY);
  SQLite::Statement query(database,
                          "SELECT type || ' ' || name, coalesce(sql, '') "
                          "FROM sqlite_schema WHERE name <> 'sqlite_sequence'");
  std::map<std::string, std::string> schema;
  while (query.executeStep()) {
    schema[query.getColumn(0).getString()] = query.getColumn(1).getString();
  }
  return schema;
}

int64_t Version(const fs::path& path) {
  SQLite::Database database(path.string(), SQLite::OPEN_READONLY);
  return database.execAndGet("PRAGMA user_version").getInt64();
}

class MigrationTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("migration");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    path_ = directory_->path() / "state.sqlite";
    const fs::path fixture = fs::path(TRIBUTARY_SOURCE_DIR) /
                             "tests/fixtures/storage" /
                             ("v" + std::to_string(GetParam()) + ".sql");
    const auto sql = ReadFile(fixture);
    ASSERT_TRUE(sql.ok()) << sql.status()
                          << "; make it with tests/fixtures/storage/make.py";
    SQLite::Database database(path_.string(),
                              SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    database.exec("PRAGMA foreign_keys = OFF");
    database.exec(*sql);
    ASSERT_EQ(Version(path_), GetParam());
  }

  std::optional<TemporaryDirectory> directory_;
  fs::path path_;
};

TEST_P(MigrationTest, KeepsEveryRow) {
  {
    const auto database = Database::Open(path_, Database::Mode::kExisting);
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE((*database)
                    ->Transact([](Transaction& transaction) {
                      ExpectSampleState(transaction);
                      return absl::OkStatus();
                    })
                    .ok());
  }
  EXPECT_EQ(Version(path_), static_cast<int64_t>(Migrations().size()));
  const fs::path fresh = directory_->path() / "fresh.sqlite";
  ASSERT_TRUE(Database::Open(fresh, Database::Mode::kCreate).ok());
  EXPECT_EQ(SchemaOf(path_), SchemaOf(fresh));
  SQLite::Database database(path_.string(), SQLite::OPEN_READONLY);
  EXPECT_EQ(database.execAndGet("PRAGMA integrity_check").getString(), "ok");
  SQLite::Statement broken(database, "PRAGMA foreign_key_check");
  EXPECT_FALSE(broken.executeStep());
}

// All of a migration or nothing: what fails in its middle leaves the old
// version, which the old program can open.
TEST_P(MigrationTest, ThatFailsLeavesTheOldVersion) {
  {
    SQLite::Database database(path_.string(), SQLite::OPEN_READWRITE);
    database.exec(
        "CREATE INDEX IF NOT EXISTS requests_by_time "
        "ON requests (create_time_s)");
  }
  const auto before = SchemaOf(path_);
  const auto database = Database::Open(path_, Database::Mode::kExisting);
  EXPECT_EQ(database.ok(), GetParam() > 1);
  if (!database.ok()) {
    EXPECT_EQ(Version(path_), GetParam());
    EXPECT_EQ(SchemaOf(path_), before);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Versions, MigrationTest,
    testing::Range(1, static_cast<int>(Migrations().size()) + 1));

}  // namespace
}  // namespace tributary::coordinator
