#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/base/random.h"
#include "common/crypto/certificate.h"
#include "common/manifest/invitation.h"
#include "coordinator/service/server_keys.h"
#include "tests/coordinator/service/contribution_fixture.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;
using Stub = v1::TrustService::Stub;

// New keys while data owners work.
class TrustTest : public ContributionTest {
 protected:
  template <typename Request>
  StatusOr<v1::TrustState> Ask(
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   v1::TrustState*),
      Request request = {}) {
    if constexpr (!std::is_same_v<Request, v1::GetTrustStateRequest>) {
      request.set_request_id(RandomUuid());
    }
    return Call<v1::TrustState>(*federation_->operator_stubs().trust, method,
                                request);
  }

  StatusOr<v1::TrustBundle> Bundle(const Stubs& stubs) {
    return Call<v1::TrustBundle>(*stubs.trust, &Stub::GetTrustBundle,
                                 v1::GetTrustBundleRequest());
  }

  // What the contributor's program does at every contact.
  Status Renew(Owner& owner) {
    ASSIGN_OR_RETURN(const auto csr,
                     crypto::SigningRequest::Create(owner.key, owner.id));
    v1::RenewCertificateRequest request;
    request.set_request_id(RandomUuid());
    request.set_certificate_signing_request_pem(csr.ToPem());
    ASSIGN_OR_RETURN(
        const v1::RenewCertificateResponse response,
        Call<v1::RenewCertificateResponse>(
            *owner.stubs->enrolment,
            &v1::EnrolmentService::Stub::RenewCertificate, request));
    owner.identity.certificate_pem = response.certificate_pem();
    owner.identity.ca_certificate_pem.clear();
    for (const std::string& pem : response.trust().ca_certificates_pem()) {
      owner.identity.ca_certificate_pem += pem;
    }
    owner.stubs = federation_->Connect(owner.identity);
    return absl::OkStatus();
  }

  // Why a new connection with this identity fails.
  absl::StatusCode Refusal(const rpc::TlsIdentity& identity) {
    return Bundle(*federation_->Connect(identity)).status().code();
  }

  crypto::Certificate PresentCa() {
    return *crypto::Certificate::Load(federation_->home().certificate("ca"));
  }

  static bool IssuedBy(const crypto::Certificate& ca, const std::string& pem) {
    const auto certificate = crypto::Certificate::FromPem(pem);
    return certificate.ok() &&
           certificate->VerifyChain(ca, certificate->not_before_s()).ok();
  }
};

// Uploads of one owner, piece by piece over one stream, while keys change.
class SlowUpload {
 public:
  SlowUpload(const Owner& owner, const TestExpert& expert)
      : thread_([&owner, &expert, this] { result_ = Send(owner, expert); }) {}
  ~SlowUpload() { Finish().IgnoreError(); }

  // Lets the last piece go and waits.
  Status Finish() {
    go_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
    return result_;
  }

 private:
  Status Send(const Owner& owner, const TestExpert& expert) {
    grpc::ClientContext context;
    SetStreamDeadline(context);
    v1::WriteResponse response;
    const auto writer = owner.stubs->blobs->Write(&context, &response);
    constexpr size_t kPiece = 1000;
    for (size_t offset = 0; offset < expert.bytes.size(); offset += kPiece) {
      v1::WriteRequest message;
      if (offset == 0) {
        message.set_resource_name(expert.manifest.blob.ToString());
        message.set_contribution("contributions/" +
                                 expert.manifest.contribution);
      }
      message.set_write_offset(static_cast<int64_t>(offset));
      message.set_data(expert.bytes.substr(offset, kPiece));
      const bool last = offset + kPiece >= expert.bytes.size();
      message.set_finish_write(last);
      while (last && !go_) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      if (!writer->Write(message)) {
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    writer->WritesDone();
    return rpc::FromGrpcStatus(writer->Finish());
  }

  std::atomic<bool> go_{false};
  Status result_;
  std::thread thread_;
};

TEST_F(TrustTest, TheServersKeyChangesUnderAnUpload) {
  const auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  ASSERT_TRUE(Create(*alice_, expert->envelope_json, RandomUuid()).ok());
  SlowUpload upload(*alice_, *expert);
  const auto before = Ask(&Stub::GetTrustState);
  ASSERT_TRUE(before.ok()) << before.status();
  const auto after = Ask(&Stub::RotateServerKey);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_NE(before->server_certificate_fingerprint(),
            after->server_certificate_fingerprint());
  EXPECT_EQ(before->ca_fingerprint(), after->ca_fingerprint());
  // New connections stand, the old one goes on.
  EXPECT_TRUE(Bundle(*federation_->Connect(alice_->identity)).ok());
  EXPECT_TRUE(upload.Finish().ok());
  // The key on disk is the certificate's.
  ASSERT_TRUE(federation_->Restart().ok());
  EXPECT_EQ(Ask(&Stub::GetTrustState)->server_certificate_fingerprint(),
            after->server_certificate_fingerprint());
}

TEST_F(TrustTest, TheCaChangesUnderUploads) {
  // What was signed before has to be checkable afterwards.
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "first", 1).ok());
  ASSERT_EQ(federation_->BuildRelease()->name(), "releases/1");
  auto bob = federation_->Enrol("bob");
  ASSERT_TRUE(bob.ok());
  const auto of_alice = federation_->MakeExpert(*alice_, "second", 2);
  const auto of_bob = federation_->MakeExpert(*bob, "third", 3);
  ASSERT_TRUE(Create(*alice_, of_alice->envelope_json, RandomUuid()).ok());
  ASSERT_TRUE(Create(*bob, of_bob->envelope_json, RandomUuid()).ok());
  const rpc::TlsIdentity old_identity = alice_->identity;
  Owner old_alice{.id = "alice", .key = alice_->key, .identity = old_identity};
  old_alice.stubs = federation_->Connect(old_identity);
  Owner old_bob{.id = "bob", .key = bob->key, .identity = bob->identity};
  old_bob.stubs = federation_->Connect(old_bob.identity);
  SlowUpload first(old_alice, *of_alice);
  SlowUpload second(old_bob, *of_bob);

  const auto started = Ask(&Stub::StartCaRotation);
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_FALSE(started->next_ca_fingerprint().empty());
  EXPECT_EQ(started->waiting_contributors_count(), 2);
  EXPECT_TRUE(absl::IsFailedPrecondition(Ask(&Stub::StartCaRotation).status()));
  // Old certificates are good still, on new connections too.
  EXPECT_EQ(
      Bundle(*federation_->Connect(old_identity))->ca_certificates_pem_size(),
      2);
  ASSERT_TRUE(Renew(*alice_).ok());
  EXPECT_EQ(Bundle(*alice_->stubs)->ca_certificates_pem_size(), 2);
  // An invitation works in the middle, and its owner has nothing to renew.
  const auto carol = federation_->Enrol("carol");
  ASSERT_TRUE(carol.ok()) << carol.status();
  const Status early = Ask(&Stub::FinishCaRotation).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(early)) << early;
  EXPECT_THAT(std::string(early.message()), HasSubstr("such as bob"));
  ASSERT_TRUE(Renew(*bob).ok());

  const auto finished = Ask(&Stub::FinishCaRotation);
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(finished->ca_fingerprint(), started->next_ca_fingerprint());
  EXPECT_EQ(finished->next_ca_fingerprint(), "");
  // Uploads that began under the old CA end well.
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_TRUE(second.Finish().ok());
  // Nobody gets in with the old one, and who trusts it alone stays away.
  rpc::TlsIdentity stale = old_identity;
  EXPECT_EQ(Refusal(stale), absl::StatusCode::kUnauthenticated);
  stale.ca_certificate_pem = PresentCa().ToPem();
  EXPECT_EQ(Refusal(stale), absl::StatusCode::kUnavailable);

  ASSERT_TRUE(federation_->Restart().ok());
  alice_->identity.ca_certificate_pem = PresentCa().ToPem();
  alice_->stubs = federation_->Connect(alice_->identity);
  const auto bundle = Bundle(*alice_->stubs);
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  ASSERT_EQ(bundle->ca_certificates_pem_size(), 1);
  EXPECT_EQ(bundle->ca_certificates_pem(0), PresentCa().ToPem());
  EXPECT_TRUE(IssuedBy(PresentCa(), bundle->signing_certificate_pem()));
  v1::ListReleaseExpertsRequest request;
  request.set_name("releases/1");
  const auto experts = Call<v1::ListReleaseExpertsResponse>(
      *alice_->stubs->releases, &v1::ReleaseService::Stub::ListReleaseExperts,
      request);
  ASSERT_TRUE(experts.ok()) << experts.status();
  EXPECT_TRUE(IssuedBy(PresentCa(), experts->experts(0).certificate_pem()));
}

TEST_F(TrustTest, WhoDidNotRenewIsShutOutByForceAndCanBeInvitedAgain) {
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "first", 1).ok());
  ASSERT_EQ(federation_->BuildRelease()->name(), "releases/1");
  ASSERT_TRUE(Ask(&Stub::StartCaRotation).ok());
  v1::FinishCaRotationRequest request;
  request.set_force(true);
  const auto finished = Ask(&Stub::FinishCaRotation, request);
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(Refusal(alice_->identity), absl::StatusCode::kUnauthenticated);
  ASSERT_TRUE(federation_->ConnectOperator().ok());
  v1::ListReleaseExpertsRequest list;
  list.set_name("releases/1");
  const auto experts = Call<v1::ListReleaseExpertsResponse>(
      *federation_->operator_stubs().releases,
      &v1::ReleaseService::Stub::ListReleaseExperts, list);
  ASSERT_TRUE(experts.ok()) << experts.status();
  const std::string& pem = experts->experts(0).certificate_pem();
  EXPECT_TRUE(IssuedBy(PresentCa(), pem));
  // Made to check signatures: it does not open the door.
  EXPECT_LE(crypto::Certificate::FromPem(pem)->not_after_s(),
            static_cast<int64_t>(federation_->clock().NowSeconds()) + 1);
}

TEST_F(TrustTest, AChangeThatDiedInTheMiddleIsCompleted) {
  const auto started = Ask(&Stub::StartCaRotation);
  ASSERT_TRUE(started.ok()) << started.status();
  ASSERT_TRUE(Renew(*alice_).ok());
  federation_->Stop();
  std::filesystem::rename(federation_->home().key(kNextCaName),
                          federation_->home().key(kCaName));
  ASSERT_TRUE(federation_->Restart().ok());
  EXPECT_EQ(PresentCa().fingerprint(), started->next_ca_fingerprint());
  EXPECT_EQ(Ask(&Stub::GetTrustState)->next_ca_fingerprint(), "");
  alice_->stubs = federation_->Connect(alice_->identity);
  EXPECT_TRUE(Bundle(*alice_->stubs).ok());
}

TEST_F(TrustTest, AReplacedOperatorsKeyIsRefusedOnItsNextCall) {
  const auto before = Ask(&Stub::GetTrustState);
  ASSERT_TRUE(before.ok()) << before.status();
  v1::RotateOperatorKeyRequest request;
  request.set_request_id(RandomUuid());
  const auto rotate = [&] {
    return Call<v1::TrustState>(*federation_->operator_stubs().trust,
                                &Stub::RotateOperatorKey, request);
  };
  const auto after = rotate();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_NE(before->operator_certificate_fingerprint(),
            after->operator_certificate_fingerprint());
  EXPECT_EQ(before->server_certificate_fingerprint(),
            after->server_certificate_fingerprint());
  // The connection still shows the old certificate, which the CA has signed.
  const Status refused = Ask(&Stub::GetTrustState).status();
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_TRUE(rpc::HasReason(refused, rpc::kRevoked));
  EXPECT_TRUE(
      absl::IsPermissionDenied(Bundle(federation_->operator_stubs()).status()));
  // The home has the new one. A repeat of the call, whose answer was lost,
  // changes nothing.
  ASSERT_TRUE(federation_->ConnectOperator().ok());
  const auto again = rotate();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->operator_certificate_fingerprint(),
            after->operator_certificate_fingerprint());
  EXPECT_EQ(
      crypto::Certificate::Load(federation_->home().certificate(kOperatorName))
          ->fingerprint(),
      after->operator_certificate_fingerprint());
  // It outlives the server, whose CA then changes.
  ASSERT_TRUE(federation_->Restart().ok());
  EXPECT_TRUE(Ask(&Stub::StartCaRotation).ok());
}

TEST_F(TrustTest, OnlyOperatorsChangeKeys) {
  v1::RotateServerKeyRequest request;
  request.set_request_id(RandomUuid());
  EXPECT_TRUE(absl::IsPermissionDenied(
      Call<v1::TrustState>(*alice_->stubs->trust, &Stub::RotateServerKey,
                           request)
          .status()));
  EXPECT_TRUE(absl::IsPermissionDenied(
      Call<v1::TrustState>(*alice_->stubs->trust, &Stub::GetTrustState,
                           v1::GetTrustStateRequest())
          .status()));
  EXPECT_TRUE(absl::IsUnauthenticated(
      Bundle(*federation_->Connect(federation_->anonymous())).status()));
}

}  // namespace
}  // namespace tributary::coordinator
