#include "contributor/client/enrol.h"

#include <filesystem>
#include <optional>

#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/spiffe.h"
#include "contributor/client/identity.h"
#include "contributor/client/receipts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::contributor {
namespace {

using ::testing::HasSubstr;

class FixedClock : public Clock {
 public:
  double NowSeconds() const override { return now_s; }
  double now_s = 1.8e9;
};

// A federation's CA that answers enrolments.
class EnrolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("enrol-test");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    home_ = std::make_unique<Home>(folder_->path() / "home");
    ASSERT_TRUE(MakeDirectories(home_->root()).ok());
    auto ca = crypto::CertificateAuthority::CreateSelfSigned(
        "test", 3650 * crypto::kDaySeconds, clock_);
    ASSERT_TRUE(ca.ok()) << ca.status();
    ca_.emplace(*std::move(ca));
    auto signer = crypto::PrivateKey::Generate();
    ASSERT_TRUE(signer.ok());
    signer_.emplace(*std::move(signer));
    invitation_ = {.federation = "test",
                   .contributor_id = "site-a",
                   .address = "localhost:1",
                   .secret = std::string(32, 's'),
                   .expire_time_s = static_cast<int64_t>(clock_.now_s) + 3600,
                   .ca_certificate_pem = ca_->certificate().ToPem(),
                   .ca_fingerprint = ca_->certificate().fingerprint()};
  }

  std::string IssuePem(const crypto::PublicKey& key,
                       const manifest::Identity& identity) {
    const auto certificate =
        ca_->Issue(key, {.common_name = "x", .uris = {identity.ToUri()}});
    EXPECT_TRUE(certificate.ok()) << certificate.status();
    return certificate.ok() ? certificate->ToPem() : "";
  }

  StatusOr<v1::EnrolResponse> Answer(const v1::EnrolRequest& request) {
    ++calls_;
    request_ids_.push_back(request.request_id());
    ASSIGN_OR_RETURN(const auto csr,
                     crypto::SigningRequest::FromPem(
                         request.certificate_signing_request_pem()));
    v1::EnrolResponse response;
    response.set_certificate_pem(IssuePem(
        csr.public_key(), {"test", manifest::Role::kContributor, issued_id_}));
    response.set_signing_certificate_pem(
        IssuePem(signer_->public_key(), {"test", manifest::Role::kSigner, ""}));
    response.set_ca_certificate_pem(ca_->certificate().ToPem());
    response.set_federation("test");
    return response;
  }

  Status Enrol() {
    return contributor::Enrol(
        *home_, invitation_,
        [this](const v1::EnrolRequest& request) { return Answer(request); },
        clock_);
  }

  std::optional<TemporaryDirectory> folder_;
  std::unique_ptr<Home> home_;
  FixedClock clock_;
  std::optional<crypto::CertificateAuthority> ca_;
  std::optional<crypto::PrivateKey> signer_;
  manifest::Invitation invitation_;
  std::string issued_id_ = "site-a";
  std::vector<std::string> request_ids_;
  int calls_ = 0;
};

TEST_F(EnrolTest, MakesAnIdentityWhoseKeyOthersCannotRead) {
  const Status status = Enrol();
  ASSERT_TRUE(status.ok()) << status;
  const auto key = home_->Identity() / kKeyFile;
  EXPECT_EQ(
      std::filesystem::status(key).permissions(),
      std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  ASSERT_TRUE(WriteFileAtomic(home_->Config(), "").ok());
  const auto identity = LoadIdentity(*home_);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->contributor_id, "site-a");
  EXPECT_EQ(identity->address, "localhost:1");
  EXPECT_TRUE(CheckSigner(*identity, static_cast<int64_t>(clock_.now_s)).ok());
}

TEST_F(EnrolTest, AnIdentityIsNeverOverwritten) {
  ASSERT_TRUE(Enrol().ok());
  const Status again = Enrol();
  EXPECT_TRUE(absl::IsFailedPrecondition(again)) << again;
  invitation_.contributor_id = "site-b";
  invitation_.secret = std::string(32, 't');
  const Status other = Enrol();
  EXPECT_TRUE(absl::IsFailedPrecondition(other)) << other;
  EXPECT_THAT(std::string(other.message()), HasSubstr("contributors/site-a"));
  EXPECT_EQ(calls_, 1);
}

TEST_F(EnrolTest, AnotherInvitationCertifiesTheSameKeyAgain) {
  ASSERT_TRUE(Enrol().ok());
  ASSERT_TRUE(WriteFileAtomic(home_->Config(), "").ok());
  const auto before = LoadIdentity(*home_);
  clock_.now_s += 40 * crypto::kDaySeconds;
  EXPECT_TRUE(
      absl::IsUnauthenticated(CheckNotExpired(before->certificate, clock_)));
  invitation_.secret = std::string(32, 't');
  invitation_.address = "localhost:2";
  invitation_.expire_time_s = static_cast<int64_t>(clock_.now_s) + 3600;
  const Status status = Enrol();
  ASSERT_TRUE(status.ok()) << status;
  const auto after = LoadIdentity(*home_);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->key.ToPem(), before->key.ToPem());
  EXPECT_TRUE(CheckNotExpired(after->certificate, clock_).ok());
  EXPECT_EQ(after->address, "localhost:2");
  // What does not come about leaves what was there.
  invitation_.secret = std::string(32, 'u');
  issued_id_ = "site-b";
  EXPECT_TRUE(absl::IsUnauthenticated(Enrol()));
  EXPECT_EQ(LoadIdentity(*home_)->certificate.ToPem(),
            after->certificate.ToPem());
}

TEST_F(EnrolTest, AReaderIsToldWhatAReaderCanDo) {
  const auto certificate = ca_->Issue(
      signer_->public_key(),
      {.common_name = "library", .uris = {"spiffe://test/reader/library"}});
  clock_.now_s += 40 * crypto::kDaySeconds;
  const Status ended = CheckNotExpired(*certificate, clock_);
  EXPECT_TRUE(absl::IsUnauthenticated(ended));
  EXPECT_THAT(std::string(ended.message()), HasSubstr("another home"));
}

TEST_F(EnrolTest, AnExpiredInvitationIsFoundOutBeforeAnyContact) {
  invitation_.expire_time_s = static_cast<int64_t>(clock_.now_s) - 1;
  const Status status = Enrol();
  EXPECT_TRUE(absl::IsUnauthenticated(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("expired"));
  EXPECT_EQ(calls_, 0);
}

TEST_F(EnrolTest, AnInterruptedEnrolmentRepeatsTheSameRequest) {
  const Status lost = contributor::Enrol(
      *home_, invitation_,
      [this](const v1::EnrolRequest& request) -> StatusOr<v1::EnrolResponse> {
        RETURN_IF_ERROR(Answer(request).status());
        return Unavailable("the answer was lost");
      },
      clock_);
  EXPECT_TRUE(absl::IsUnavailable(lost));
  ASSERT_TRUE(Enrol().ok());
  ASSERT_EQ(request_ids_.size(), 2u);
  EXPECT_EQ(request_ids_[0], request_ids_[1]);
}

TEST_F(EnrolTest, ACertificateForSomebodyElseIsRefused) {
  issued_id_ = "site-b";
  EXPECT_TRUE(absl::IsUnauthenticated(Enrol()));
  EXPECT_TRUE(absl::IsNotFound(LoadIdentity(*home_).status()));
}

TEST_F(EnrolTest, AnswersOfAnotherFederationAreRefused) {
  auto other = crypto::CertificateAuthority::CreateSelfSigned(
      "test", crypto::kDaySeconds, clock_);
  ASSERT_TRUE(other.ok());
  invitation_.ca_certificate_pem = other->certificate().ToPem();
  invitation_.ca_fingerprint = other->certificate().fingerprint();
  EXPECT_TRUE(absl::IsUnauthenticated(Enrol()));
}

TEST_F(EnrolTest, RenewalIsDueAfterTwoThirdsOfTheLife) {
  ASSERT_TRUE(Enrol().ok());
  const auto certificate =
      crypto::Certificate::Load(home_->Identity() / kCertificateFile);
  ASSERT_TRUE(certificate.ok());
  EXPECT_FALSE(IsRenewalDue(*certificate, clock_));
  clock_.now_s += 19 * crypto::kDaySeconds;
  EXPECT_FALSE(IsRenewalDue(*certificate, clock_));
  clock_.now_s += 2 * crypto::kDaySeconds;
  EXPECT_TRUE(IsRenewalDue(*certificate, clock_));
  EXPECT_TRUE(CheckNotExpired(*certificate, clock_).ok());
  clock_.now_s += 10 * crypto::kDaySeconds;
  EXPECT_TRUE(absl::IsUnauthenticated(CheckNotExpired(*certificate, clock_)));
}

TEST_F(EnrolTest, ReceiptsAreVerifiedAgainstTheFederation) {
  ASSERT_TRUE(Enrol().ok());
  ASSERT_TRUE(WriteFileAtomic(home_->Config(), "").ok());
  const auto identity = LoadIdentity(*home_);
  ASSERT_TRUE(identity.ok());
  const manifest::WithdrawalReceipt receipt = {
      .federation = "test",
      .contribution = "letters",
      .contributor = "site-a",
      .expert_blob = {.sha256 = std::string(64, 'b'), .size = 10},
      .withdrawn_releases = {{"releases/1", std::string(64, 'c')}},
      .withdraw_time_s = static_cast<int64_t>(clock_.now_s),
      .purge_time_s = static_cast<int64_t>(clock_.now_s),
      .audit = {.size = 3, .head_hash = std::string(64, 'd')}};
  const auto signed_receipt =
      manifest::SignWithdrawalReceipt(receipt, *signer_);
  ASSERT_TRUE(signed_receipt.ok()) << signed_receipt.status();
  v1::Withdrawal withdrawal;
  withdrawal.set_name("withdrawals/letters");
  withdrawal.set_contribution("contributions/letters");
  withdrawal.set_receipt_json(*signed_receipt);
  const Status stored = StoreReceipts(*home_, *identity, withdrawal);
  EXPECT_TRUE(stored.ok()) << stored;
  EXPECT_EQ(*ReadFile(WithdrawalReceiptPath(*home_, "letters")),
            *signed_receipt);

  withdrawal.set_contribution("contributions/other");
  EXPECT_TRUE(
      absl::IsUnauthenticated(StoreReceipts(*home_, *identity, withdrawal)));
  const auto stranger = crypto::PrivateKey::Generate();
  ASSERT_TRUE(stranger.ok());
  const auto forged = manifest::SignWithdrawalReceipt(receipt, *stranger);
  ASSERT_TRUE(forged.ok());
  EXPECT_TRUE(
      absl::IsUnauthenticated(VerifyReceipt(*forged, *identity).status()));
}

}  // namespace
}  // namespace tributary::contributor
