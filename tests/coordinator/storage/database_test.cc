#include "coordinator/storage/database.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "common/base/exit_code.h"
#include "common/base/files.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/request_store.h"
#include "coordinator/storage/schema.h"

namespace tributary::coordinator {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("database");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    path_ = directory_->path() / "state.sqlite";
    auto database = Database::Open(path_, Database::Mode::kCreate);
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
  }

  Status Invite(const std::string& id) {
    return database_->Transact([&](Transaction& transaction) {
      ContributorStore(transaction).EnsureInvited(id, 1);
      return absl::OkStatus();
    });
  }

  int64_t Count() {
    return *database_->Get([](Transaction& transaction) -> StatusOr<int64_t> {
      return ContributorStore(transaction).Count();
    });
  }

  std::optional<TemporaryDirectory> directory_;
  std::filesystem::path path_;
  std::unique_ptr<Database> database_;
};

TEST_F(DatabaseTest, ErrorsOfTheBodyRollBack) {
  const Status status = database_->Transact([&](Transaction& transaction) {
    ContributorStore(transaction).EnsureInvited("a", 1);
    return InvalidArgument("no");
  });
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(Count(), 0);
}

TEST_F(DatabaseTest, ConstraintsAreAlreadyExists) {
  ASSERT_TRUE(Invite("a").ok());
  const InvitationRow row{.secret_sha256 = "s", .contributor = "a"};
  const auto add = [&] {
    return database_->Transact([&](Transaction& transaction) {
      ContributorStore(transaction).AddInvitation(row);
      return absl::OkStatus();
    });
  };
  EXPECT_TRUE(add().ok());
  EXPECT_TRUE(absl::IsAlreadyExists(add()));
}

TEST_F(DatabaseTest, SurvivesReopeningAndIsReadWhileOpen) {
  ASSERT_TRUE(Invite("a").ok());
  auto reader = Database::Open(path_, Database::Mode::kReadOnly);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)
                ->Get([](Transaction& transaction) -> StatusOr<int64_t> {
                  return ContributorStore(transaction).Count();
                })
                .value_or(0),
            1);
  ASSERT_TRUE(Invite("b").ok());
  database_.reset();
  auto again = Database::Open(path_, Database::Mode::kExisting);
  ASSERT_TRUE(again.ok());
  database_ = *std::move(again);
  EXPECT_EQ(Count(), 2);
}

TEST_F(DatabaseTest, RefusesWhatIsNotItsOwn) {
  EXPECT_TRUE(absl::IsNotFound(
      Database::Open(directory_->path() / "none", Database::Mode::kExisting)
          .status()));
  const auto other = directory_->path() / "other.sqlite";
  SQLite::Database(other.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
      .exec("CREATE TABLE t (x)");
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Database::Open(other, Database::Mode::kExisting).status()));
  const auto text = directory_->path() / "text";
  ASSERT_TRUE(WriteFileAtomic(text, std::string(4096, 'x')).ok());
  EXPECT_TRUE(absl::IsDataLoss(
      Database::Open(text, Database::Mode::kExisting).status()));
}

TEST_F(DatabaseTest, NewerSchemaHasItsOwnExitCode) {
  database_.reset();
  SQLite::Database(path_.string(), SQLite::OPEN_READWRITE)
      .exec("PRAGMA user_version = 1000");
  const Status status =
      Database::Open(path_, Database::Mode::kExisting).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(ExitCodeFor(status), ExitCode::kNewerSchema);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("newer version"));
}

TEST_F(DatabaseTest, EveryTableIsStrictAndMarked) {
  database_.reset();
  SQLite::Database raw(path_.string(), SQLite::OPEN_READONLY);
  EXPECT_EQ(raw.execAndGet("PRAGMA application_id").getInt64(), kApplicationId);
  EXPECT_EQ(raw.execAndGet("PRAGMA user_version").getInt64(),
            static_cast<int64_t>(Migrations().size()));
  EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM pragma_table_list WHERE "
                           "type = 'table' AND NOT strict AND "
                           "name NOT LIKE 'sqlite_%'")
                .getInt64(),
            0);
}

TEST_F(DatabaseTest, ChangesWakeWaiters) {
  const uint64_t seen = database_->changes();
  std::thread writer([&] { EXPECT_TRUE(Invite("a").ok()); });
  EXPECT_GT(database_->WaitForChange(seen, std::chrono::seconds(30)), seen);
  writer.join();
  // Reading changes nothing.
  const uint64_t after = database_->changes();
  EXPECT_EQ(Count(), 1);
  EXPECT_EQ(database_->changes(), after);
}

TEST_F(DatabaseTest, BackUpIsACopyOfOneMoment) {
  ASSERT_TRUE(Invite("a").ok());
  const auto target = directory_->path() / "copy.sqlite";
  ASSERT_TRUE(database_->BackUp(target).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(database_->BackUp(target)));
  ASSERT_TRUE(Invite("b").ok());
  auto copy = Database::Open(target, Database::Mode::kExisting);
  ASSERT_TRUE(copy.ok()) << copy.status();
  database_ = *std::move(copy);
  EXPECT_EQ(Count(), 1);
}

TEST_F(DatabaseTest, RequestsAnswerRepeatsAndRefuseOtherBodies) {
  RequestKey key{.caller = "spiffe://f/contributor/a",
                 .request_id = "id",
                 .method = "Create",
                 .body_sha256 = "one"};
  ASSERT_TRUE(database_
                  ->Transact([&](Transaction& transaction) {
                    RequestStore(transaction).Add(key, "answer", 5);
                    return absl::OkStatus();
                  })
                  .ok());
  const auto find = [&](const RequestKey& wanted) {
    return database_->Get([&](Transaction& transaction) {
      return RequestStore(transaction).Find(wanted);
    });
  };
  EXPECT_EQ(find(key).value(), "answer");
  key.caller = "spiffe://f/contributor/b";
  EXPECT_EQ(find(key).value(), std::nullopt);
  key.caller = "spiffe://f/contributor/a";
  key.body_sha256 = "two";
  EXPECT_TRUE(absl::IsInvalidArgument(find(key).status()));
}

}  // namespace
}  // namespace tributary::coordinator
