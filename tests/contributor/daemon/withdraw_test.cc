#include "contributor/daemon/withdraw.h"

#include <optional>

#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/receipts.h"
#include "common/manifest/spiffe.h"
#include "contributor/client/receipts.h"
#include "contributor/client/renew.h"
#include "contributor/egress/ledger.h"
#include "gmock/gmock.h"
#include "tests/contributor/pipeline/fakes.h"

namespace tributary::contributor {
namespace {

using ::testing::ElementsAre;

class LaterClock : public Clock {
 public:
  double NowSeconds() const override {
    return SystemClock().NowSeconds() + later_s;
  }
  double later_s = 0;
};

// A coordinator that purges after two questions and renews certificates.
class PurgingCoordinator : public FakeCoordinator {
 public:
  StatusOr<v1::Withdrawal> GetWithdrawal(
      const std::string& /*contribution*/) override {
    ++questions;
    withdrawal.set_state(questions < 2 ? v1::Withdrawal::REBUILT
                                       : v1::Withdrawal::PURGED);
    if (questions >= 2) {
      withdrawal.set_final_receipt_json(final_receipt);
    }
    return withdrawal;
  }
  StatusOr<v1::RenewCertificateResponse> RenewCertificate(
      const std::string& request) override {
    return renew(request);
  }

  int questions = 0;
  std::string final_receipt;
  std::function<StatusOr<v1::RenewCertificateResponse>(const std::string&)>
      renew;
};

class WithdrawTest : public EgressFixture {
 protected:
  void SetUp() override {
    EgressFixture::SetUp();
    auto ca = crypto::CertificateAuthority::CreateSelfSigned(
        "test", 3650 * crypto::kDaySeconds, clock_);
    auto signer = crypto::PrivateKey::Generate();
    ASSERT_TRUE(ca.ok() && signer.ok());
    auto cache = BlobCache::Create(home_->Cache());
    ASSERT_TRUE(cache.ok());
    cache_ = *std::move(cache);
    ca_.emplace(*std::move(ca));
    signer_.emplace(*std::move(signer));
    identity_.emplace(Identity{.federation = "test",
                               .contributor_id = "letters",
                               .address = "localhost:1",
                               .key = *key_,
                               .certificate = Contributor(key_->public_key()),
                               .ca = ca_->certificate(),
                               .signer = Signer()});
    coordinator_.withdrawal.set_name("withdrawals/letters");
    coordinator_.withdrawal.set_contribution("contributions/letters");
    coordinator_.withdrawal.set_state(v1::Withdrawal::WITHDRAWN);
    coordinator_.withdrawal.set_purge_time_s(Now());
    const manifest::BlobName blob = {.sha256 = std::string(64, 'b'),
                                     .size = 10};
    coordinator_.withdrawal.set_receipt_json(*manifest::SignWithdrawalReceipt(
        {.federation = "test",
         .contribution = "letters",
         .contributor = "letters",
         .expert_blob = blob,
         .withdraw_time_s = Now(),
         .purge_time_s = Now(),
         .audit = {.size = 1, .head_hash = std::string(64, 'd')}},
        *signer_));
    coordinator_.final_receipt = *manifest::SignPurgeReceipt(
        {.federation = "test",
         .contribution = "letters",
         .contributor = "letters",
         .expert_blob = blob,
         .deleted_blobs = {blob},
         .purge_time_s = Now(),
         .audit = {.size = 2, .head_hash = std::string(64, 'e')}},
        *signer_);
  }

  int64_t Now() const { return static_cast<int64_t>(clock_.NowSeconds()); }

  crypto::Certificate Issue(const crypto::PublicKey& key,
                            const manifest::Identity& identity) {
    return *ca_->Issue(key, {.common_name = "x", .uris = {identity.ToUri()}});
  }
  crypto::Certificate Contributor(const crypto::PublicKey& key) {
    return Issue(key, {"test", manifest::Role::kContributor, "letters"});
  }
  crypto::Certificate Signer() {
    return Issue(signer_->public_key(), {"test", manifest::Role::kSigner, ""});
  }

  PipelineContext Context() {
    return {.home = *home_,
            .config = config_,
            .identity = *identity_,
            .client = coordinator_,
            .cache = *cache_,
            .worker = worker_,
            .clock = clock_,
            .progress = nullptr};
  }

  LaterClock clock_;
  std::optional<crypto::CertificateAuthority> ca_;
  std::optional<crypto::PrivateKey> signer_;
  std::optional<Identity> identity_;
  std::unique_ptr<BlobCache> cache_;
  config::ContributorConfig config_;
  PurgingCoordinator coordinator_;
  FakeWorker worker_;
};

TEST_F(WithdrawTest, WaitsForThePurgeAndKeepsBothReceipts) {
  std::vector<v1::Withdrawal::State> states;
  const auto withdrawal = Withdraw(
      Context(),
      {.contribution = "letters",
       .wait = WithdrawOptions::Wait::kUntilPurged,
       .on_change =
           [&](const v1::Withdrawal& seen) { states.push_back(seen.state()); },
       .sleep = [](double /*seconds*/) {}});
  ASSERT_TRUE(withdrawal.ok()) << withdrawal.status();
  EXPECT_THAT(states,
              ElementsAre(v1::Withdrawal::WITHDRAWN, v1::Withdrawal::REBUILT,
                          v1::Withdrawal::PURGED));
  EXPECT_TRUE(FileSize(WithdrawalReceiptPath(*home_, "letters")).ok());
  EXPECT_TRUE(FileSize(PurgeReceiptPath(*home_, "letters")).ok());
  const auto ledger = Ledger::Open(home_->Ledger(), *key_);
  ASSERT_TRUE(ledger.ok());
  ASSERT_EQ(ledger->entries().size(), 1u);
  EXPECT_EQ(ledger->entries()[0].action, "withdraw");
}

TEST_F(WithdrawTest, ALongGracePeriodIsNotWaitedOut) {
  coordinator_.withdrawal.set_purge_time_s(Now() + 86400);
  const auto withdrawal =
      Withdraw(Context(), {.contribution = "letters",
                           .wait = WithdrawOptions::Wait::kUntilPurged,
                           .sleep = [](double /*seconds*/) {}});
  ASSERT_TRUE(withdrawal.ok()) << withdrawal.status();
  EXPECT_EQ(withdrawal->state(), v1::Withdrawal::REBUILT);
}

TEST_F(WithdrawTest, AForgedReceiptIsAnError) {
  const auto stranger = crypto::PrivateKey::Generate();
  ASSERT_TRUE(stranger.ok());
  coordinator_.withdrawal.set_receipt_json(*manifest::SignWithdrawalReceipt(
      {.federation = "test",
       .contribution = "letters",
       .contributor = "letters",
       .expert_blob = {.sha256 = std::string(64, 'b'), .size = 10},
       .withdraw_time_s = Now(),
       .purge_time_s = Now(),
       .audit = {.size = 1, .head_hash = std::string(64, 'd')}},
      *stranger));
  EXPECT_TRUE(absl::IsUnauthenticated(
      Withdraw(Context(), {.contribution = "letters"}).status()));
  EXPECT_FALSE(FileSize(WithdrawalReceiptPath(*home_, "letters")).ok());
}

TEST_F(WithdrawTest, ACertificateIsRenewedWhenItIsDue) {
  ASSERT_TRUE(MakeDirectories(home_->Identity()).ok());
  coordinator_.renew = [&](const std::string& request)
      -> StatusOr<v1::RenewCertificateResponse> {
    ASSIGN_OR_RETURN(const auto csr, crypto::SigningRequest::FromPem(request));
    v1::RenewCertificateResponse response;
    response.set_certificate_pem(Contributor(csr.public_key()).ToPem());
    response.set_ca_certificate_pem(ca_->certificate().ToPem());
    response.set_signing_certificate_pem(Signer().ToPem());
    return response;
  };
  auto renewed = RenewIfDue(*home_, *identity_, coordinator_, clock_);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_FALSE(*renewed);
  clock_.later_s = 21 * crypto::kDaySeconds;
  renewed = RenewIfDue(*home_, *identity_, coordinator_, clock_);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_TRUE(*renewed);
  const auto stored =
      crypto::Certificate::Load(home_->Identity() / kCertificateFile);
  ASSERT_TRUE(stored.ok());
  EXPECT_GT(stored->not_after_s(), identity_->certificate.not_after_s());
  EXPECT_TRUE(stored->public_key() == key_->public_key());
}

}  // namespace
}  // namespace tributary::contributor
