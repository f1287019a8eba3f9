#include "contributor/client/audit_history.h"

#include <optional>

#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/audit_record.h"
#include "common/manifest/receipts.h"
#include "common/manifest/spiffe.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contributor/pipeline/fakes.h"

namespace tributary::contributor {
namespace {

using ::testing::HasSubstr;

// A coordinator with an audit log of its own.
class LoggingCoordinator : public FakeCoordinator {
 public:
  explicit LoggingCoordinator(const crypto::PrivateKey& signer)
      : signer_(signer) {}

  StatusOr<v1::Checkpoint> GetCheckpoint(int64_t size) override {
    const auto records = static_cast<int64_t>(hashes.size());
    if (size > records) {
      return OutOfRange("size: got {}, the log has {}", size, records);
    }
    manifest::AuditCheckpoint checkpoint;
    checkpoint.federation = "test";
    checkpoint.size = size == 0 ? records : size;
    checkpoint.time_s = ++time_s_;
    if (checkpoint.size > 0) {
      checkpoint.head_hash =
          hashes.at(static_cast<size_t>(checkpoint.size) - 1);
    }
    v1::Checkpoint answer;
    ASSIGN_OR_RETURN(*answer.mutable_envelope_json(),
                     manifest::SignAuditCheckpoint(checkpoint, signer_));
    return answer;
  }

  void Record(char digit) { hashes.push_back(std::string(64, digit)); }

  std::vector<std::string> hashes;

 private:
  const crypto::PrivateKey signer_;
  int64_t time_s_ = 0;
};

class AuditHistoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("audit-history");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    home_.emplace(folder_->path());
    const auto ca = crypto::CertificateAuthority::CreateSelfSigned(
        "test", crypto::kDaySeconds, SystemClock());
    const auto signer = crypto::PrivateKey::Generate();
    const auto key = crypto::PrivateKey::Generate();
    ASSERT_TRUE(ca.ok() && signer.ok() && key.ok());
    signer_.emplace(*signer);
    const auto issue = [&](const crypto::PrivateKey& of, manifest::Role role,
                           const std::string& id) {
      const manifest::Identity identity{"test", role, id};
      return *ca->Issue(of.public_key(),
                        {.common_name = "x", .uris = {identity.ToUri()}});
    };
    identity_.emplace(Identity{
        .federation = "test",
        .contributor_id = "letters",
        .address = "localhost:1",
        .key = *key,
        .certificate = issue(*key, manifest::Role::kContributor, "letters"),
        .ca = ca->certificate(),
        .signer = issue(*signer, manifest::Role::kSigner, "")});
    coordinator_.emplace(*signer);
    for (const char digit : {'a', 'b', 'c'}) {
      coordinator_->Record(digit);
    }
  }

  Status Check() {
    return CheckAuditHistory(*home_, *identity_, *coordinator_);
  }

  void KeepReceipt(int64_t size, char digit) {
    const manifest::BlobName blob = {.sha256 = std::string(64, 'b'),
                                     .size = 10};
    const auto now = static_cast<int64_t>(SystemClock().NowSeconds());
    ASSERT_TRUE(MakeDirectories(home_->Receipts()).ok());
    ASSERT_TRUE(
        WriteFileAtomic(
            home_->Receipts() / "letters.withdrawal.dsse.json",
            *manifest::SignWithdrawalReceipt(
                {.federation = "test",
                 .contribution = "letters",
                 .contributor = "letters",
                 .expert_blob = blob,
                 .withdraw_time_s = now,
                 .purge_time_s = now,
                 .audit = {.size = size, .head_hash = std::string(64, digit)}},
                *signer_))
            .ok());
  }

  std::optional<TemporaryDirectory> folder_;
  std::optional<Home> home_;
  std::optional<crypto::PrivateKey> signer_;
  std::optional<Identity> identity_;
  std::optional<LoggingCoordinator> coordinator_;
};

TEST_F(AuditHistoryTest, AGrowingLogIsFine) {
  EXPECT_TRUE(Check().ok());
  EXPECT_TRUE(Check().ok());
  coordinator_->Record('d');
  KeepReceipt(2, 'b');
  const Status status = Check();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(AuditHistoryTest, ARewrittenLogIsSeenThoughItIsLonger) {
  ASSERT_TRUE(Check().ok());
  coordinator_->hashes[2] = std::string(64, 'e');
  coordinator_->Record('f');
  const Status status = Check();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("after 3 records"));
  // The evidence stays.
  EXPECT_TRUE(absl::IsDataLoss(Check()));
}

TEST_F(AuditHistoryTest, AShorterLogIsSeen) {
  ASSERT_TRUE(Check().ok());
  coordinator_->hashes.pop_back();
  EXPECT_TRUE(absl::IsDataLoss(Check()));
}

TEST_F(AuditHistoryTest, ReceiptsAreHeldAgainstTheLog) {
  KeepReceipt(2, '0');
  const Status status = Check();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("withdrawal.dsse.json"));
}

TEST_F(AuditHistoryTest, SignaturesOfOthersDoNotCount) {
  const auto stranger = crypto::PrivateKey::Generate();
  LoggingCoordinator other(*stranger);
  other.Record('a');
  EXPECT_TRUE(
      absl::IsUnauthenticated(CheckAuditHistory(*home_, *identity_, other)));
}

}  // namespace
}  // namespace tributary::contributor
