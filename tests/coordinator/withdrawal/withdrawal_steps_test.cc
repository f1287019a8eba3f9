// A coordinator that dies at any step of a withdrawal and is started again ends
// in the same state as one that does not: every commit and every change of the
// blob store fails once, each in a run of its own, and pairs of them at random.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/receipts.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/upload_store.h"
#include "coordinator/withdrawal/withdraw.h"
#include "coordinator/withdrawal/withdrawal_job.h"
#include "tests/coordinator/blob/memory_blob_store.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr char kAnchor[] = "anchor-digest";
constexpr int64_t kNow = 1'700'000'000;

class FixedClock final : public Clock {
 public:
  double NowSeconds() const override { return kNow; }
};

// Counts steps and fails at those that it was told.
class Fault {
 public:
  explicit Fault(std::vector<int> steps) : steps_(std::move(steps)) {}
  Status Step() {
    ++count_;
    for (const int step : steps_) {
      if (step == count_) {
        return Internal("killed at step {}", count_);
      }
    }
    return absl::OkStatus();
  }
  int count() const { return count_; }

 private:
  const std::vector<int> steps_;
  int count_ = 0;
};

// Fails before a change, as a process that dies then.
class FaultyStore final : public BlobStore {
 public:
  FaultyStore(BlobStore& store, Fault& fault) : store_(store), fault_(fault) {}
  StatusOr<bool> Contains(const BlobName& name) override {
    return store_.Contains(name);
  }
  StatusOr<std::unique_ptr<BlobReader>> OpenReader(
      const BlobName& name) override {
    return store_.OpenReader(name);
  }
  StatusOr<std::unique_ptr<BlobWriter>> BeginWrite(
      const BlobName& name, const std::string& id,
      const WritePosition& position) override {
    return store_.BeginWrite(name, id, position);
  }
  Status DiscardWrite(const std::string& id) override {
    RETURN_IF_ERROR(fault_.Step());
    return store_.DiscardWrite(id);
  }
  StatusOr<std::vector<std::string>> ListWrites() override {
    return store_.ListWrites();
  }
  StatusOr<BlobName> Import(const fs::path& file) override {
    return store_.Import(file);
  }
  Status Materialise(const BlobName& name, const fs::path& target) override {
    return store_.Materialise(name, target);
  }
  Status Delete(const BlobName& name) override {
    RETURN_IF_ERROR(fault_.Step());
    return store_.Delete(name);
  }
  StatusOr<std::vector<BlobName>> List() override { return store_.List(); }
  StatusOr<uint64_t> FreeBytes() override { return store_.FreeBytes(); }

 private:
  BlobStore& store_;
  Fault& fault_;
};

class NoRunner final : public TaskRunner {
 public:
  StatusOr<job::Result> Run(job::Job, const ProgressFunction&,
                            const CancellationToken&) override {
    return Internal("nothing is to be built");
  }
};

// What outlives the process: the disk. Contributions a, b and twin, where twin
// has the bytes of b's router; releases 1 of {a} and 2 of {a, b}; b has an
// upload that is not finished.
class Disk {
 public:
  Disk() : directory_(*TemporaryDirectory::Create("steps")) {
    expert_b_ = Put("expert of b");
    shared_ = Put("router of both");
    EXPECT_TRUE(MakeDirectories(home_.jobs()).ok());
    for (const int number : {1, 2}) {
      EXPECT_TRUE(MakeDirectories(home_.release(number)).ok());
      EXPECT_TRUE(
          WriteFileAtomic(home_.release(number) / "release.json", "{}").ok());
    }
    auto database = Database::Open(home_.database(), Database::Mode::kCreate);
    EXPECT_TRUE(database.ok()) << database.status();
    const Status filled = (*database)->Transact([&](Transaction& transaction) {
      Fill(transaction);
      return absl::OkStatus();
    });
    EXPECT_TRUE(filled.ok()) << filled;
    auto partial = store_.BeginWrite({std::string(64, 'f'), 100}, "half", {});
    EXPECT_TRUE((*partial)->Append("half").ok());
  }

  // One life of the process: asks for the withdrawal and runs its job until
  // all is done or a step fails.
  Status Live(Fault& fault) {
    const FixedClock clock;
    ASSIGN_OR_RETURN(
        const auto database,
        Database::Open(home_.database(), Database::Mode::kExisting));
    database->set_before_commit([&fault] { return fault.Step(); });
    FaultyStore store(store_, fault);
    BlobCatalog catalog(*database, store, clock);
    const Core core{home_, settings_, clock, *database, catalog, signer_};
    RETURN_IF_ERROR(database->Transact([&](Transaction& transaction) -> Status {
      const auto row = ContributionStore(transaction).Find("b");
      return Withdraw(core, transaction, *row, {.actor = "b's owner"}).status();
    }));
    NoRunner runner;
    ReleaseBuilder builder(core, runner);
    const CancellationToken cancellation;
    return WithdrawalJob(core, builder)
        .Run("b", {.id = "withdraw-1", .cancellation = cancellation})
        .status();
  }

  // Everything that anybody could see, without signatures.
  std::string State() {
    auto database = Database::Open(home_.database(), Database::Mode::kExisting);
    std::string state;
    const Status read =
        (*database)->Transact([&](Transaction& transaction) -> Status {
          const auto contribution = ContributionStore(transaction).Find("b");
          const auto withdrawal = WithdrawalStore(transaction).Find("b");
          state += fmt::format(
              "{} {} {} -> {}\n", ToString(contribution->state),
              contribution->manifest_json.size(), ToString(withdrawal->state),
              withdrawal->new_release.value_or(0));
          for (const ReleaseRow& release :
               ReleaseStore(transaction).List(100, 100)) {
            state += fmt::format("release {} {} {}\n", release.number,
                                 ToString(release.state), release.reason);
          }
          for (const BlobName& blob : BlobTable(transaction).List()) {
            state += "row " + blob.ToString() + "\n";
          }
          for (const std::string& id : UploadStore(transaction).ListIds()) {
            state += "upload " + id + "\n";
          }
          ASSIGN_OR_RETURN(const auto first,
                           manifest::OpenWithdrawalReceipt(
                               withdrawal->receipt_json, signer_.public_key()));
          ASSIGN_OR_RETURN(const auto last, manifest::OpenPurgeReceipt(
                                                withdrawal->final_receipt_json,
                                                signer_.public_key()));
          ASSIGN_OR_RETURN(const std::string first_json, first.ToJson());
          ASSIGN_OR_RETURN(const std::string last_json, last.ToJson());
          state += first_json + "\n" + last_json + "\n";
          return AuditLog(transaction)
              .Verify([&](const manifest::AuditRecord& record) {
                state += record.action + " " + record.detail_json + "\n";
              })
              .status();
        });
    EXPECT_TRUE(read.ok()) << read;
    const auto blobs = store_.List();
    for (const BlobName& blob : *blobs) {
      state += "blob " + blob.ToString() + "\n";
    }
    const auto partials = store_.ListWrites();
    for (const std::string& id : *partials) {
      state += "partial " + id + "\n";
    }
    for (const int number : {1, 2}) {
      state += fmt::format("folder {}: {}\n", number,
                           fs::exists(home_.release(number)));
    }
    return state;
  }

 private:
  BlobName Put(const std::string& bytes) {
    const fs::path file = directory_.path() / "file";
    EXPECT_TRUE(WriteFileAtomic(file, bytes).ok());
    return *store_.Import(file);
  }

  void Fill(Transaction& transaction) {
    ContributorStore(transaction).EnsureInvited("owner", kNow);
    AnchorStore(transaction).Add({.id = "anchor", .digest = kAnchor});
    for (const char* id : {"a", "b", "twin"}) {
      ContributionStore(transaction)
          .Add({.id = id,
                .contributor = "owner",
                .state = id == std::string("twin")
                             ? ContributionState::kRejected
                             : ContributionState::kAccepted,
                .anchor_digest = kAnchor,
                .blob = expert_b_.ToString(),
                .manifest_json = "{}",
                .envelope_json = "{}"});
    }
    BlobTable blobs(transaction);
    blobs.Add(expert_b_, "contributions/b", kNow);
    blobs.Add(shared_, "contributions/twin", kNow);
    blobs.Add(shared_, "releases/2", kNow);
    ReleaseStore releases(transaction);
    for (const auto& experts :
         std::vector<std::vector<std::string>>{{"a"}, {"a", "b"}}) {
      const int64_t number =
          releases.Create(kAnchor, "discriminant", experts, kNow);
      releases.Publish({.number = number, .digest = std::string(64, '1')});
    }
    UploadStore(transaction)
        .Put({.contribution = "b",
              .blob = "blobs/sha256/" + std::string(64, 'f') + "/100",
              .upload_id = "half",
              .size_bytes = 100,
              .epoch = 1});
  }

  TemporaryDirectory directory_;
  const Home home_{directory_.path() / "home"};
  const Settings settings_{.federation = "test"};
  const crypto::PrivateKey signer_ = *crypto::PrivateKey::Generate();
  MemoryBlobStore store_;
  BlobName expert_b_;
  BlobName shared_;
};

// Lives until one life ends well; each fault strikes once, in its life.
std::string RunWithFaults(const std::vector<std::vector<int>>& faults) {
  Disk disk;
  for (const std::vector<int>& steps : faults) {
    Fault fault(steps);
    EXPECT_FALSE(disk.Live(fault).ok());
  }
  Fault none({});
  const Status done = disk.Live(none);
  EXPECT_TRUE(done.ok()) << done;
  return disk.State();
}

TEST(WithdrawalSteps, EveryStepMayBeTheLast) {
  Disk disk;
  Fault none({});
  ASSERT_TRUE(disk.Live(none).ok());
  const std::string wanted = disk.State();
  EXPECT_THAT(wanted, testing::HasSubstr("PURGED 0 PURGED -> 1"));
  EXPECT_THAT(wanted, testing::HasSubstr("kept_blobs\":[{"));
  EXPECT_THAT(wanted, testing::Not(testing::HasSubstr("partial half")));
  ASSERT_GE(none.count(), 6);
  for (int step = 1; step <= none.count(); ++step) {
    EXPECT_EQ(RunWithFaults({{step}}), wanted) << "killed at step " << step;
  }
}

TEST(WithdrawalSteps, AndTheOneAfterTheRestartToo) {
  const std::string wanted = RunWithFaults({});
  constexpr unsigned kSeed = 20'26;
  std::mt19937 random(kSeed);
  for (int i = 0; i < 12; ++i) {
    // A second life has at least three steps left when the first one was
    // killed at its last.
    const int first = 1 + static_cast<int>(random() % 6);
    const int second = 1 + static_cast<int>(random() % 3);
    EXPECT_EQ(RunWithFaults({{first}, {second}}), wanted)
        << "killed at step " << first << ", then at step " << second;
  }
}

}  // namespace
}  // namespace tributary::coordinator
