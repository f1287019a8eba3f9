#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/crypto/certificate.h"
#include "common/manifest/invitation.h"
#include "common/manifest/spiffe.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;

class EnrolmentTest : public testing::Test {
 protected:
  void SetUp() override {
    auto federation = TestFederation::Create();
    ASSERT_TRUE(federation.ok()) << federation.status();
    federation_ = *std::move(federation);
  }

  v1::EnrolRequest Request(const std::string& id, const std::string& secret) {
    const auto key = crypto::PrivateKey::Generate();
    v1::EnrolRequest request;
    request.set_request_id(RandomUuid());
    request.set_contributor_id(id);
    request.set_invitation_secret(secret);
    request.set_certificate_signing_request_pem(
        crypto::SigningRequest::Create(*key, "anything")->ToPem());
    return request;
  }

  StatusOr<v1::EnrolResponse> Enrol(const v1::EnrolRequest& request) {
    const auto stubs = federation_->Connect(federation_->anonymous());
    return Call<v1::EnrolResponse>(*stubs->enrolment,
                                   &v1::EnrolmentService::Stub::Enrol, request);
  }

  StatusOr<v1::Contributor> Revoke(const std::string& id) {
    v1::RevokeContributorRequest request;
    request.set_request_id(RandomUuid());
    request.set_name("contributors/" + id);
    return Call<v1::Contributor>(*federation_->operator_stubs().admin,
                                 &v1::AdminService::Stub::RevokeContributor,
                                 request);
  }

  StatusOr<v1::ListReleasesResponse> List(const Stubs& stubs) {
    return Call<v1::ListReleasesResponse>(
        *stubs.releases, &v1::ReleaseService::Stub::ListReleases,
        v1::ListReleasesRequest());
  }

  std::unique_ptr<TestFederation> federation_;
};

TEST_F(EnrolmentTest, CertifiesTheIdentityAndNothingElse) {
  const std::string secret = *federation_->Invite("alice");
  const auto response = Enrol(Request("alice", secret));
  ASSERT_TRUE(response.ok()) << response.status();
  const auto certificate =
      crypto::Certificate::FromPem(response->certificate_pem());
  ASSERT_TRUE(certificate.ok());
  EXPECT_THAT(certificate->uris(),
              testing::ElementsAre("spiffe://test/contributor/alice"));
  EXPECT_TRUE(certificate->dns_names().empty());
  EXPECT_FALSE(certificate->is_ca());
  EXPECT_TRUE(manifest::VerifyIdentity(
                  *certificate, federation_->ca().certificate(), "test",
                  static_cast<int64_t>(federation_->clock().NowSeconds()))
                  .ok());
  EXPECT_EQ(response->federation(), "test");
}

TEST_F(EnrolmentTest, InvitationsWorkOnce) {
  const std::string secret = *federation_->Invite("alice");
  const v1::EnrolRequest request = Request("alice", secret);
  const auto first = Enrol(request);
  ASSERT_TRUE(first.ok()) << first.status();
  // The same request again: the answer was lost.
  EXPECT_EQ(Enrol(request)->certificate_pem(), first->certificate_pem());
  const auto second = Enrol(Request("alice", secret));
  EXPECT_TRUE(absl::IsUnauthenticated(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("was used"));
}

TEST_F(EnrolmentTest, RefusesExpiredUnknownAndForeignInvitations) {
  const std::string secret = *federation_->Invite("alice");
  EXPECT_TRUE(absl::IsUnauthenticated(Enrol(Request("bob", secret)).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(
      Enrol(Request("alice", std::string(32, 'x'))).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Enrol(Request("alice", "short")).status()));
  v1::EnrolRequest bad_csr = Request("alice", secret);
  bad_csr.set_certificate_signing_request_pem("nonsense");
  EXPECT_TRUE(absl::IsInvalidArgument(Enrol(bad_csr).status()));
  federation_->clock().Advance(73 * 3600);
  const auto late = Enrol(Request("alice", secret));
  EXPECT_TRUE(absl::IsUnauthenticated(late.status()));
  EXPECT_THAT(std::string(late.status().message()), HasSubstr("expired"));
}

TEST_F(EnrolmentTest, ANewInvitationReplacesAnUnusedOne) {
  const std::string old_secret = *federation_->Invite("alice");
  const std::string new_secret = *federation_->Invite("alice");
  EXPECT_TRUE(
      absl::IsUnauthenticated(Enrol(Request("alice", old_secret)).status()));
  EXPECT_TRUE(Enrol(Request("alice", new_secret)).ok());
}

TEST_F(EnrolmentTest, RepeatingAnInvitationRequestGivesTheSameFile) {
  federation_->settings().public_address = "coordinator.test:8443";
  ASSERT_TRUE(federation_->Restart().ok());
  v1::CreateInvitationRequest request;
  request.set_request_id(RandomUuid());
  request.set_contributor_id("alice");
  const auto invite = [&] {
    return Call<v1::CreateInvitationResponse>(
        *federation_->operator_stubs().admin,
        &v1::AdminService::Stub::CreateInvitation, request);
  };
  const auto first = invite();
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(federation_->Restart().ok());
  EXPECT_EQ(invite()->invitation_json(), first->invitation_json());
  request.set_lifetime_s(5);
  EXPECT_TRUE(absl::IsInvalidArgument(invite().status()));
}

TEST_F(EnrolmentTest, RenewalCertifiesANewKey) {
  const auto owner = federation_->Enrol("alice");
  ASSERT_TRUE(owner.ok()) << owner.status();
  const auto key = crypto::PrivateKey::Generate();
  v1::RenewCertificateRequest request;
  request.set_request_id(RandomUuid());
  request.set_certificate_signing_request_pem(
      crypto::SigningRequest::Create(*key, "alice")->ToPem());
  const auto renew = [&](const Stubs& stubs) {
    return Call<v1::RenewCertificateResponse>(
        *stubs.enrolment, &v1::EnrolmentService::Stub::RenewCertificate,
        request);
  };
  const auto response = renew(*owner->stubs);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(renew(*owner->stubs)->certificate_pem(),
            response->certificate_pem());
  const auto renewed = federation_->Connect(
      {.ca_certificate_pem = response->ca_certificate_pem(),
       .certificate_pem = response->certificate_pem(),
       .private_key_pem = key->ToPem()});
  EXPECT_TRUE(List(*renewed).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(
      renew(*federation_->Connect(federation_->anonymous())).status()));
}

TEST_F(EnrolmentTest, RevokedIsRefusedOnTheNextCallOfAnOpenConnection) {
  const auto owner = federation_->Enrol("alice");
  ASSERT_TRUE(owner.ok());
  ASSERT_TRUE(List(*owner->stubs).ok());
  ASSERT_EQ(Revoke("alice")->state(), "REVOKED");
  const Status status = List(*owner->stubs).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_TRUE(rpc::HasReason(status, rpc::kRevoked));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(federation_->Invite("alice").status()));
  EXPECT_TRUE(absl::IsNotFound(Revoke("nobody").status()));
}

TEST_F(EnrolmentTest, CertificatesOfAnotherFederationDoNotConnect) {
  auto other = TestFederation::Create();
  ASSERT_TRUE(other.ok());
  const auto stranger = (*other)->Enrol("alice");
  ASSERT_TRUE(stranger.ok());
  // It trusts its own CA only: it refuses this server itself.
  const Status own_ca =
      List(*federation_->Connect(stranger->identity)).status();
  EXPECT_TRUE(absl::IsUnauthenticated(own_ca)) << own_ca;
  // Even when it trusts this CA, the server refuses its certificate.
  rpc::TlsIdentity mixed = stranger->identity;
  mixed.ca_certificate_pem = federation_->anonymous().ca_certificate_pem;
  const Status refused = List(*federation_->Connect(mixed)).status();
  EXPECT_TRUE(absl::IsUnavailable(refused) || absl::IsUnauthenticated(refused))
      << refused;
}

TEST_F(EnrolmentTest, RolesAreApart) {
  const auto owner = federation_->Enrol("alice");
  ASSERT_TRUE(owner.ok());
  EXPECT_TRUE(absl::IsUnauthenticated(
      List(*federation_->Connect(federation_->anonymous())).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(
      Call<v1::GetStatusResponse>(*owner->stubs->admin,
                                  &v1::AdminService::Stub::GetStatus,
                                  v1::GetStatusRequest())
          .status()));
  EXPECT_TRUE(absl::IsPermissionDenied(
      Call<v1::ListContributionsResponse>(
          *federation_->operator_stubs().contributions,
          &v1::ContributionService::Stub::ListContributions,
          v1::ListContributionsRequest())
          .status()));
  const auto status = Call<v1::GetStatusResponse>(
      *federation_->operator_stubs().admin, &v1::AdminService::Stub::GetStatus,
      v1::GetStatusRequest());
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->federation(), "test");
  EXPECT_EQ(status->contributors(), 1);
}

TEST_F(EnrolmentTest, ReadersReadReleasesOnly) {
  ASSERT_TRUE(federation_->PublishAnchor().ok());
  const auto identity = federation_->MakeReader("library");
  ASSERT_TRUE(identity.ok()) << identity.status();
  const auto reader = federation_->Connect(*identity);
  v1::GetAnchorRequest anchor;
  anchor.set_name("anchors/current");
  EXPECT_TRUE(Call<v1::Anchor>(*reader->anchors,
                               &v1::AnchorService::Stub::GetAnchor, anchor)
                  .ok());
  EXPECT_TRUE(List(*reader).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(
      Call<v1::ListContributionsResponse>(
          *reader->contributions,
          &v1::ContributionService::Stub::ListContributions,
          v1::ListContributionsRequest())
          .status()));
  EXPECT_TRUE(absl::IsPermissionDenied(
      Call<v1::GetStatusResponse>(*reader->admin,
                                  &v1::AdminService::Stub::GetStatus,
                                  v1::GetStatusRequest())
          .status()));
  const manifest::BlobName blob{std::string(64, 'a'), 1};
  EXPECT_TRUE(absl::IsPermissionDenied(
      Upload(*reader, "contributions/exp", blob, "x").status()));
}

TEST_F(EnrolmentTest, ManyAttemptsAreSlowedDown) {
  Status last;
  for (int i = 0; i < 200 && !absl::IsUnavailable(last); ++i) {
    last = Enrol(Request("alice", std::string(32, 'x'))).status();
  }
  EXPECT_TRUE(absl::IsUnavailable(last)) << last;
}

}  // namespace
}  // namespace tributary::coordinator
