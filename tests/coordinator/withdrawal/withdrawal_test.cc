#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <optional>

#include "common/base/random.h"
#include "common/crypto/digest.h"
#include "common/manifest/receipts.h"
#include "tests/coordinator/withdrawal/withdrawal_fixture.h"

namespace tributary::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Every file below a folder that holds these bytes.
std::vector<std::string> FilesHolding(const std::filesystem::path& folder,
                                      const std::string& bytes) {
  std::vector<std::string> found;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) {
      continue;
    }
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    if (content.find(bytes) != std::string::npos) {
      found.push_back(entry.path().string());
    }
  }
  return found;
}

TEST_F(WithdrawalTest, LeavesTheBytesOfAFederationThatNeverHadTheExpert) {
  for (size_t i : {2, 0, 1}) {
    Contribute(i);
  }
  ASSERT_EQ(federation_->BuildRelease()->state(), v1::Release::PUBLISHED);
  ASSERT_TRUE(federation_->Withdraw(owners_[1], "bob").ok());
  ASSERT_TRUE(federation_->RunJobs().ok());
  const v1::Release rebuilt = Latest();
  EXPECT_EQ(rebuilt.name(), "releases/2");
  const auto manifest =
      manifest::ReleaseManifest::FromJson(rebuilt.manifest_json());
  ASSERT_TRUE(manifest.ok());
  const std::string router = ReadBlob(manifest->router_blob.ToString());

  // A federation of its own, with other keys and another order, where bob
  // never was.
  Start({});
  for (size_t i : {0, 2}) {
    Contribute(i);
  }
  ASSERT_EQ(federation_->BuildRelease()->state(), v1::Release::PUBLISHED);
  EXPECT_EQ(Latest().manifest_json(), rebuilt.manifest_json());
  EXPECT_EQ(Latest().digest(), rebuilt.digest());
  EXPECT_EQ(ReadBlob(manifest->router_blob.ToString()), router);
}

TEST_F(WithdrawalTest, TakesEffectAtOnceAndPurgesEverything) {
  Contribute(0);
  Contribute(1);
  ASSERT_TRUE(federation_->BuildRelease().ok());
  const auto expert = federation_->MakeExpert(owners_[1], "bob", 1);
  std::filesystem::remove(federation_->path() / "bob.safetensors");
  const std::string tail = expert->bytes.substr(expert->bytes.size() - 600);
  EXPECT_FALSE(FilesHolding(federation_->home().root(), tail).empty());
  // As a build or an admission that was killed would leave them.
  ASSERT_TRUE(WriteFileAtomic(federation_->home().jobs() / "left", tail).ok());
  const auto partial = federation_->home().releases() / ".1.tmp/experts";
  ASSERT_TRUE(MakeDirectories(partial).ok());
  ASSERT_TRUE(WriteFileAtomic(partial / "bob.safetensors", tail).ok());
  const std::string old_router =
      manifest::ReleaseManifest::FromJson(Latest().manifest_json())
          ->router_blob.ToString();

  const auto withdrawal = federation_->Withdraw(owners_[1], "bob");
  ASSERT_TRUE(withdrawal.ok()) << withdrawal.status();
  EXPECT_EQ(withdrawal->state(), v1::Withdrawal::WITHDRAWN);
  EXPECT_THAT(withdrawal->withdrawn_releases(), ElementsAre("releases/1"));
  // No job has run: nothing that held it is served any more.
  const Status gone =
      federation_->GetRelease(owners_[0], "releases/1").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(gone)) << gone;
  EXPECT_TRUE(rpc::HasReason(gone, rpc::kReleaseWithdrawn));
  EXPECT_EQ(ReadBlob(expert->manifest.blob.ToString()), "missing");
  EXPECT_EQ(ReadBlob(old_router), "missing");
  EXPECT_TRUE(absl::IsNotFound(
      federation_->GetRelease(owners_[0], "releases/latest").status()));

  const auto receipt = manifest::OpenWithdrawalReceipt(
      withdrawal->receipt_json(), federation_->signer());
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  EXPECT_EQ(receipt->withdrawn_releases.size(), 1u);
  EXPECT_EQ(receipt->expert_blob, expert->manifest.blob);

  ASSERT_TRUE(federation_->RunJobs().ok());
  const auto done = federation_->GetWithdrawal(owners_[1], "bob");
  EXPECT_EQ(done->state(), v1::Withdrawal::PURGED);
  EXPECT_EQ(done->new_release(), "releases/2");
  const auto final_receipt = manifest::OpenPurgeReceipt(
      done->final_receipt_json(), federation_->signer());
  ASSERT_TRUE(final_receipt.ok()) << final_receipt.status();
  EXPECT_EQ(final_receipt->deleted_blobs.size(), 2u);
  EXPECT_TRUE(final_receipt->kept_blobs.empty());
  EXPECT_EQ(final_receipt->new_release->digest, Latest().digest());
  EXPECT_THAT(FilesHolding(federation_->home().root(), tail),
              testing::IsEmpty());
  const auto contribution = federation_->GetContribution(owners_[1], "bob");
  EXPECT_EQ(contribution->state(), v1::Contribution::PURGED);
  EXPECT_TRUE(contribution->manifest_envelope_json().empty());
  // Repeating it changes nothing.
  EXPECT_EQ(federation_->Withdraw(owners_[1], "bob")->SerializeAsString(),
            done->SerializeAsString());
  EXPECT_TRUE(
      absl::IsNotFound(federation_->GetWithdrawal(owners_[0], "bob").status()));
  EXPECT_TRUE(
      absl::IsNotFound(federation_->Withdraw(owners_[0], "bob").status()));
}

TEST_F(WithdrawalTest, WithoutSurvivorsTheAnchorRemains) {
  Contribute(0);
  ASSERT_TRUE(federation_->BuildRelease().ok());
  ASSERT_TRUE(federation_->Withdraw(owners_[0], "alice").ok());
  ASSERT_TRUE(federation_->RunJobs().ok());
  const auto done = federation_->GetWithdrawal(owners_[0], "alice");
  EXPECT_EQ(done->state(), v1::Withdrawal::PURGED);
  EXPECT_EQ(done->new_release(), "");
  const Status latest =
      federation_->GetRelease(owners_[0], "releases/latest").status();
  EXPECT_TRUE(absl::IsNotFound(latest));
  EXPECT_THAT(std::string(latest.message()), HasSubstr("anchor alone"));
}

TEST_F(WithdrawalTest, AnOlderReleaseOfTheSurvivorsServesAgain) {
  Contribute(0);
  ASSERT_TRUE(federation_->BuildRelease().ok());
  Contribute(1);
  ASSERT_TRUE(federation_->BuildRelease().ok());
  ASSERT_TRUE(federation_->Withdraw(owners_[1], "bob").ok());
  EXPECT_EQ(Latest().name(), "releases/1");
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_EQ(Latest().name(), "releases/1");
  EXPECT_EQ(federation_->GetWithdrawal(owners_[1], "bob")->new_release(),
            "releases/1");
}

TEST_F(WithdrawalTest, UnfinishedContributionsCanBeWithdrawn) {
  const auto expert = federation_->MakeExpert(owners_[0], "half", 1);
  v1::CreateContributionRequest create;
  create.set_request_id(RandomUuid());
  create.set_manifest_envelope_json(expert->envelope_json);
  ASSERT_TRUE(Call<v1::Contribution>(
                  *owners_[0].stubs->contributions,
                  &v1::ContributionService::Stub::CreateContribution, create)
                  .ok());
  ASSERT_TRUE(Upload(*owners_[0].stubs, "contributions/half",
                     expert->manifest.blob, expert->bytes,
                     {.end = 1000, .how = UploadRange::End::kHalfClose})
                  .ok());
  ASSERT_TRUE(federation_->Withdraw(owners_[0], "half").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Upload(*owners_[0].stubs, "contributions/half", expert->manifest.blob,
             expert->bytes, {.offset = 1000})
          .status()));
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_TRUE(std::filesystem::is_empty(federation_->home().uploads()));
  EXPECT_EQ(federation_->GetContribution(owners_[0], "half")->state(),
            v1::Contribution::PURGED);
}

TEST_F(WithdrawalTest, BytesThatAnotherContributionNeedsAreKept) {
  Contribute(0);
  // The same file under another name of the same owner.
  const Status status = federation_->ContributeAndAdmit(owners_[0], "twin", 0);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE(federation_->Withdraw(owners_[0], "alice").ok());
  ASSERT_TRUE(federation_->RunJobs().ok());
  const auto receipt = manifest::OpenPurgeReceipt(
      federation_->GetWithdrawal(owners_[0], "alice")->final_receipt_json(),
      federation_->signer());
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  EXPECT_TRUE(receipt->deleted_blobs.empty());
  ASSERT_EQ(receipt->kept_blobs.size(), 1u);
  EXPECT_EQ(receipt->kept_blobs[0].reason, "part of contributions/twin");
  EXPECT_EQ(federation_->BuildRelease()->state(), v1::Release::PUBLISHED);
}

TEST_F(WithdrawalTest, WinsOverAdmissionThatRuns) {
  bool cancelled = false;
  federation_->script().validate = [&](const job::ValidateExpert&,
                                       const CancellationToken& cancellation)
      -> StatusOr<job::ValidateExpertResult> {
    EXPECT_TRUE(federation_->Withdraw(owners_[0], "alice").ok());
    cancelled = cancellation.IsCancelled();
    job::ValidateExpertResult result;
    result.add_gates()->set_passed(true);
    return result;
  };
  Contribute(0);
  EXPECT_TRUE(cancelled);
  EXPECT_EQ(federation_->GetContribution(owners_[0], "alice")->state(),
            v1::Contribution::PURGED);
  EXPECT_EQ(federation_->GetWithdrawal(owners_[0], "alice")->state(),
            v1::Withdrawal::PURGED);
}

TEST_F(WithdrawalTest, WinsOverABuildThatRuns) {
  Contribute(0);
  Contribute(1);
  bool withdrawn = false;
  federation_->script().before_evaluation =
      [&](const CancellationToken&) -> Status {
    if (!std::exchange(withdrawn, true)) {
      EXPECT_TRUE(federation_->Withdraw(owners_[1], "bob").ok());
    }
    return absl::OkStatus();
  };
  const auto build = federation_->BuildRelease();
  ASSERT_TRUE(build.ok()) << build.status();
  EXPECT_EQ(build->state(), v1::Release::WITHDRAWN);
  EXPECT_FALSE(std::filesystem::exists(federation_->home().release(1)));
  EXPECT_EQ(Latest().name(), "releases/2");
  EXPECT_EQ(federation_->GetWithdrawal(owners_[1], "bob")->state(),
            v1::Withdrawal::PURGED);
  EXPECT_THAT(Latest().manifest_json(),
              testing::Not(HasSubstr("\"contribution\":\"bob\"")));
}

TEST_F(WithdrawalTest, WaitsForItsGracePeriod) {
  Settings settings;
  settings.purge_grace_s = 3600;
  Start(settings);
  Contribute(0);
  const auto asked = federation_->Withdraw(owners_[0], "alice");
  EXPECT_EQ(asked->purge_time_s() - asked->create_time_s(), 3600);
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_EQ(federation_->GetWithdrawal(owners_[0], "alice")->state(),
            v1::Withdrawal::REBUILT);
  ASSERT_TRUE(federation_->Restart().ok());
  owners_[0].stubs = federation_->Connect(owners_[0].identity);
  federation_->clock().Advance(3601);
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_EQ(federation_->GetWithdrawal(owners_[0], "alice")->state(),
            v1::Withdrawal::PURGED);
}

TEST_F(WithdrawalTest, ARebuildThatIsRefusedDoesNotHoldUpThePurge) {
  Contribute(0);
  Contribute(1);
  ASSERT_TRUE(federation_->BuildRelease().ok());
  federation_->script().release_loss = 9;
  ASSERT_TRUE(federation_->Withdraw(owners_[1], "bob").ok());
  ASSERT_TRUE(federation_->RunJobs().ok());
  const auto done = federation_->GetWithdrawal(owners_[1], "bob");
  EXPECT_EQ(done->state(), v1::Withdrawal::PURGED);
  EXPECT_EQ(done->new_release(), "");
  EXPECT_THAT(done->last_error().message(), HasSubstr("public log-loss"));
}

// A process that dies between any two steps ends in the same state.
TEST_F(WithdrawalTest, FailuresAtEveryStepAreResumed) {
  Contribute(0);
  Contribute(1);
  ASSERT_TRUE(federation_->BuildRelease().ok());
  ASSERT_TRUE(federation_->Withdraw(owners_[1], "bob").ok());
  int failures = 2;
  federation_->script().before_evaluation =
      [&](const CancellationToken&) -> Status {
    return failures-- > 0 ? Internal("killed") : absl::OkStatus();
  };
  ASSERT_TRUE(federation_->RunJobs().ok());
  auto seen = federation_->GetWithdrawal(owners_[1], "bob");
  EXPECT_EQ(seen->state(), v1::Withdrawal::WITHDRAWN);
  EXPECT_EQ(seen->last_error().message(), "killed");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(federation_->Restart().ok());
    federation_->clock().Advance(600);
    ASSERT_TRUE(federation_->RunJobs().ok());
  }
  owners_[0].stubs = federation_->Connect(owners_[0].identity);
  owners_[1].stubs = federation_->Connect(owners_[1].identity);
  seen = federation_->GetWithdrawal(owners_[1], "bob");
  EXPECT_EQ(seen->state(), v1::Withdrawal::PURGED);
  EXPECT_EQ(seen->last_error().code(), 0);
  EXPECT_EQ(seen->new_release(), "releases/2");
  EXPECT_EQ(Latest().name(), "releases/2");
}

// While it lives, no file of this process can grow, as on a full disk.
class FullDisk {
 public:
  FullDisk() {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit none = {.rlim_cur = 0, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_ = {};
};

TEST_F(WithdrawalTest, GoesOnAfterTheDatabaseCouldNotTakeTheEndOfItsJob) {
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  Contribute(0);
  Contribute(1);
  ASSERT_TRUE(federation_->BuildRelease().ok());
  ASSERT_TRUE(federation_->Withdraw(owners_[1], "bob").ok());
  std::optional<FullDisk> full;
  federation_->script().before_evaluation =
      [&](const CancellationToken&) -> Status {
    full.emplace();
    return absl::OkStatus();
  };
  const Status failed = federation_->RunJobs();
  const bool was_full = full.has_value();
  full.reset();
  federation_->script().before_evaluation = nullptr;
  ASSERT_TRUE(was_full);
  ASSERT_FALSE(failed.ok());
  // No new start, as after a crash: the same process goes on.
  ASSERT_TRUE(federation_->RunJobs().ok());
  federation_->clock().Advance(600);
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_EQ(federation_->GetWithdrawal(owners_[1], "bob")->state(),
            v1::Withdrawal::PURGED);
  std::signal(SIGXFSZ, old_handler);
}

}  // namespace
}  // namespace tributary::coordinator
