#include "coordinator/commands/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/crypto/digest.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/commands/backup.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/reader_store.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/withdrawal/withdraw.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A home with keys, configuration, and contributions a and b with their blobs.
class RestoreTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("restore");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    home_.emplace(directory_->path() / "home");
    ASSERT_TRUE(MakeDirectories(home_->keys()).ok());
    const auto ca = crypto::CertificateAuthority::CreateSelfSigned(
        "test", 100'000, SystemClock());
    ASSERT_TRUE(ca.ok()) << ca.status();
    for (const char* name : {"ca", "server", "signer", "operator"}) {
      const auto key = crypto::PrivateKey::Generate();
      ASSERT_TRUE(key->Save(home_->key(name)).ok());
      const auto certificate =
          ca->Issue(key->public_key(), {.common_name = name});
      ASSERT_TRUE(
          WriteFileAtomic(home_->certificate(name), certificate->ToPem()).ok());
    }
    const auto config =
        MakeConfigText({.federation = "test", .listen_address = "127.0.0.1:0"});
    ASSERT_TRUE(config.ok()) << config.status();
    ASSERT_TRUE(WriteFileAtomic(home_->config(), *config).ok());
    WithCore(*home_, Database::Mode::kCreate, [&](const Core& core) {
      blob_a_ = Add(core, "a", "expert of a");
      blob_b_ = Add(core, "b", "expert of b");
    });
  }

  // Runs `body` as a process on the home would, then ends it.
  template <typename Body>
  void WithCore(const Home& home, Database::Mode mode, Body&& body) {
    const auto database = Database::Open(home.database(), mode);
    ASSERT_TRUE(database.ok()) << database.status();
    const auto store = DirectoryBlobStore::Create(
        {.blobs = home.blobs(), .uploads = home.uploads()});
    ASSERT_TRUE(store.ok()) << store.status();
    BlobCatalog catalog(**database, **store, SystemClock());
    const auto signer = crypto::PrivateKey::Load(home.key("signer"));
    ASSERT_TRUE(signer.ok()) << signer.status();
    const Settings settings{.federation = "test"};
    body(Core{home, settings, SystemClock(), **database, catalog, *signer});
  }

  BlobName Add(const Core& core, const std::string& id,
               const std::string& bytes) {
    const fs::path file = directory_->path() / "file";
    EXPECT_TRUE(WriteFileAtomic(file, bytes).ok());
    const BlobName blob = *core.catalog.store().Import(file);
    const Status added = core.database.Transact([&](Transaction& transaction) {
      ContributorStore(transaction).EnsureInvited("owner", 1);
      if (!AnchorStore(transaction).Find("anchor")) {
        AnchorStore(transaction).Add({.id = "anchor", .digest = "d"});
      }
      ContributionStore(transaction)
          .Add({.id = id,
                .contributor = "owner",
                .state = ContributionState::kAccepted,
                .anchor_digest = "d",
                .blob = blob.ToString(),
                .manifest_json = "{}",
                .envelope_json = "{}"});
      BlobTable(transaction).Add(blob, "contributions/" + id, 1);
      return absl::OkStatus();
    });
    EXPECT_TRUE(added.ok()) << added;
    return blob;
  }

  void WithdrawContribution(const std::string& id) {
    WithCore(*home_, Database::Mode::kExisting, [&](const Core& core) {
      const Status status = core.database.Transact([&](Transaction& transaction)
                                                       -> Status {
        const auto row = ContributionStore(transaction).Find(id);
        return Withdraw(core, transaction, *row, {.actor = "owner"}).status();
      });
      EXPECT_TRUE(status.ok()) << status;
    });
  }

  fs::path BackUp() {
    const fs::path target = directory_->path() / "backup";
    const auto report = BackUpHome(*home_, target);
    EXPECT_TRUE(report.ok()) << report.status();
    return target;
  }

  std::string StateOf(const Home& home, const std::string& id) {
    std::string state;
    WithCore(home, Database::Mode::kExisting, [&](const Core& core) {
      const Status read = core.database.Transact([&](Transaction& transaction) {
        const auto row = ContributionStore(transaction).Find(id);
        state = row ? std::string(ToString(row->state)) : "none";
        return absl::OkStatus();
      });
      EXPECT_TRUE(read.ok()) << read;
    });
    return state;
  }

  std::optional<TemporaryDirectory> directory_;
  std::optional<Home> home_;
  BlobName blob_a_;
  BlobName blob_b_;
};

TEST_F(RestoreTest, MakesAnEmptyHomeWhatTheBackupWas) {
  const fs::path backup = BackUp();
  const Home target(directory_->path() / "new");
  const auto report = RestoreHome(target, {.backup = backup}, SystemClock());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->copied_blobs, 2);
  EXPECT_THAT(report->missing, IsEmpty());
  EXPECT_TRUE(report->replaced.empty());
  EXPECT_EQ(StateOf(target, "a"), "ACCEPTED");
  EXPECT_EQ(*ReadFile(target.config()), *ReadFile(home_->config()));
  EXPECT_EQ(*ReadFile(target.key("ca")), *ReadFile(home_->key("ca")));
}

TEST_F(RestoreTest, RefusesADatabaseThatIsThereAndARunningServer) {
  const fs::path backup = BackUp();
  const Status there =
      RestoreHome(*home_, {.backup = backup}, SystemClock()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(there)) << there;
  EXPECT_THAT(std::string(there.message()), HasSubstr("--replace"));
  const auto lock = FileLock::TryAcquire(home_->lock());
  ASSERT_TRUE(lock.ok());
  const Status runs =
      RestoreHome(
          *home_,
          {.backup = backup, .present = RestoreOptions::Present::kReplace},
          SystemClock())
          .status();
  EXPECT_THAT(std::string(runs.message()), HasSubstr("a server uses"));
}

TEST_F(RestoreTest, WhatWasWithdrawnSinceStaysWithdrawn) {
  const fs::path backup = BackUp();
  WithdrawContribution("b");
  const auto report = RestoreHome(
      *home_, {.backup = backup, .present = RestoreOptions::Present::kReplace},
      SystemClock());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->withdrawn_again, ElementsAre("b"));
  EXPECT_TRUE(fs::exists(report->replaced));
  EXPECT_EQ(StateOf(*home_, "a"), "ACCEPTED");
  EXPECT_EQ(StateOf(*home_, "b"), "WITHDRAWN");
}

TEST_F(RestoreTest, WhoWasRevokedSinceStaysRevoked) {
  const fs::path backup = BackUp();
  WithCore(*home_, Database::Mode::kExisting, [&](const Core& core) {
    const Status status = core.database.Transact([&](Transaction& transaction) {
      ContributorStore(transaction)
          .SetState("owner", ContributorState::kRevoked);
      ReaderStore(transaction).Revoke("library", 7);
      return absl::OkStatus();
    });
    ASSERT_TRUE(status.ok()) << status;
  });
  const auto report = RestoreHome(
      *home_, {.backup = backup, .present = RestoreOptions::Present::kReplace},
      SystemClock());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->revoked_again,
              ElementsAre("contributors/owner", "readers/library"));
  WithCore(*home_, Database::Mode::kExisting, [&](const Core& core) {
    const Status read = core.database.Transact([&](Transaction& transaction) {
      EXPECT_EQ(ContributorStore(transaction).Find("owner")->state,
                ContributorState::kRevoked);
      EXPECT_TRUE(ReaderStore(transaction).FindRevoked("library"));
      return absl::OkStatus();
    });
    EXPECT_TRUE(read.ok()) << read;
  });
}

TEST_F(RestoreTest, LaterReleasesKeepTheirNumbersAndAreWithdrawn) {
  const auto releases = [&](auto&& body) {
    WithCore(*home_, Database::Mode::kExisting, [&](const Core& core) {
      const Status status =
          core.database.Transact([&](Transaction& transaction) {
            ReleaseStore store(transaction);
            body(store);
            return absl::OkStatus();
          });
      ASSERT_TRUE(status.ok()) << status;
    });
  };
  const auto publish = [&](ReleaseStore& store) {
    store.Publish({.number = store.Create("d", "trained", {"a"}, 1),
                   .digest = "digest",
                   .manifest_json = "{}",
                   .envelope_json = "{}"});
  };
  releases(publish);
  const fs::path backup = BackUp();
  releases(publish);
  // Of the third one only the folder is left.
  ASSERT_TRUE(MakeDirectories(home_->release(3)).ok());
  ASSERT_TRUE(WriteFileAtomic(home_->release(3) / "release.json", "{}").ok());
  ASSERT_TRUE(MakeDirectories(home_->release(1).parent_path() / "x").ok());
  const auto report = RestoreHome(
      *home_, {.backup = backup, .present = RestoreOptions::Present::kReplace},
      SystemClock());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->lost_releases, ElementsAre("releases/2", "releases/3"));
  releases([](ReleaseStore& store) {
    EXPECT_EQ(store.Latest()->number, 1);
    EXPECT_EQ(store.Find(2)->state, ReleaseState::kWithdrawn);
    EXPECT_EQ(store.Find(2)->digest, "digest");
    EXPECT_EQ(store.Find(3)->digest, crypto::Sha256Hex("{}"));
    EXPECT_EQ(store.Create("d", "trained", {"a"}, 1), 4);
  });
}

TEST_F(RestoreTest, NamesBlobsThatNeitherSideHas) {
  const fs::path backup = BackUp();
  const Home copy(backup);
  const auto store = DirectoryBlobStore::Create(
      {.blobs = copy.blobs(), .uploads = copy.uploads()});
  ASSERT_TRUE((*store)->Delete(blob_b_).ok());
  const Home target(directory_->path() / "new");
  const auto report = RestoreHome(target, {.backup = backup}, SystemClock());
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->missing.size(), 1u);
  EXPECT_EQ(report->missing[0].name, blob_b_);
  EXPECT_THAT(report->missing[0].owners, ElementsAre("contributions/b"));
}

TEST_F(RestoreTest, ADatabaseAloneIsEnoughWhereBlobsAreLeft) {
  const fs::path backup = BackUp();
  const fs::path file = directory_->path() / "state-of-monday.sqlite";
  fs::copy_file(Home(backup).database(), file);
  // The disk has damaged the database, and a crash left a journal.
  ASSERT_TRUE(WriteFileAtomic(home_->database(), "not a database").ok());
  ASSERT_TRUE(
      WriteFileAtomic(home_->database().string() + "-journal", "junk").ok());
  const auto report = RestoreHome(
      *home_, {.backup = file, .present = RestoreOptions::Present::kReplace},
      SystemClock());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->replaced_damage.ok());
  EXPECT_THAT(report->missing, IsEmpty());
  EXPECT_EQ(StateOf(*home_, "a"), "ACCEPTED");
}

TEST_F(RestoreTest, ADamagedBackupChangesNothing) {
  const fs::path file = directory_->path() / "damaged.sqlite";
  ASSERT_TRUE(WriteFileAtomic(file, std::string(8192, 'x')).ok());
  const Status status =
      RestoreHome(
          *home_,
          {.backup = file, .present = RestoreOptions::Present::kReplace},
          SystemClock())
          .status();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(StateOf(*home_, "a"), "ACCEPTED");
  EXPECT_TRUE(absl::IsNotFound(
      RestoreHome(*home_, {.backup = directory_->path() / "none"},
                  SystemClock())
          .status()));
}

}  // namespace
}  // namespace tributary::coordinator
