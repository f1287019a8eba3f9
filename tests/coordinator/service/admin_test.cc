// What the operator does: invitations, readers, quarantine, lists.

#include "common/manifest/audit_record.h"
#include "tests/coordinator/service/contribution_fixture.h"

namespace tributary::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class AdminTest : public ContributionTest {
 protected:
  v1::AdminService::Stub& admin() {
    return *federation_->operator_stubs().admin;
  }

  StatusOr<std::vector<std::string>> Invited() {
    ASSIGN_OR_RETURN(const auto page,
                     Call<v1::ListInvitationsResponse>(
                         admin(), &v1::AdminService::Stub::ListInvitations,
                         v1::ListInvitationsRequest()));
    std::vector<std::string> names;
    for (const v1::Invitation& invitation : page.invitations()) {
      names.push_back(invitation.name());
    }
    return names;
  }

  StatusOr<v1::Invitation> Uninvite(
      const v1::DeleteInvitationRequest& request) {
    return Call<v1::Invitation>(
        admin(), &v1::AdminService::Stub::DeleteInvitation, request);
  }

  StatusOr<std::vector<std::string>> Filtered(const std::string& filter) {
    v1::ListAllContributionsRequest request;
    request.set_filter(filter);
    ASSIGN_OR_RETURN(
        const auto page,
        Call<v1::ListContributionsResponse>(
            admin(), &v1::AdminService::Stub::ListAllContributions, request));
    std::vector<std::string> names;
    for (const v1::Contribution& item : page.contributions()) {
      names.push_back(item.name());
    }
    return names;
  }

  // Passing gates with one number at 90 % of its limit.
  void MeasureCloseToALimit() {
    federation_->script().validate = [](const job::ValidateExpert&,
                                        const CancellationToken&) {
      job::ValidateExpertResult result;
      job::Gate& gate = *result.add_gates();
      gate.set_name("values");
      gate.set_passed(true);
      job::GateMeasurement& measurement = *gate.add_measurements();
      measurement.set_name("rms_ratio");
      measurement.set_value(7.2);
      measurement.set_maximum(8);
      return result;
    };
  }
};

TEST_F(AdminTest, InvitationsAreListedAndTakenBack) {
  const std::string secret = *federation_->Invite("bob");
  ASSERT_TRUE(federation_->Invite("carol").ok());
  EXPECT_THAT(*Invited(), ElementsAre("invitations/bob", "invitations/carol"));
  v1::DeleteInvitationRequest request;
  request.set_request_id(RandomUuid());
  request.set_name("invitations/bob");
  const auto deleted = Uninvite(request);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->contributor(), "contributors/bob");
  // The answer was lost.
  EXPECT_EQ(Uninvite(request)->SerializeAsString(),
            deleted->SerializeAsString());
  EXPECT_THAT(*Invited(), ElementsAre("invitations/carol"));
  v1::EnrolRequest enrol;
  enrol.set_request_id(RandomUuid());
  enrol.set_contributor_id("bob");
  enrol.set_invitation_secret(secret);
  EXPECT_TRUE(absl::IsUnauthenticated(
      Call<v1::EnrolResponse>(
          *federation_->Connect(federation_->anonymous())->enrolment,
          &v1::EnrolmentService::Stub::Enrol, enrol)
          .status()));
  // Alice has used hers; nobody else has one; bob can be invited again.
  for (const char* name : {"invitations/alice", "invitations/nobody"}) {
    request.set_request_id(RandomUuid());
    request.set_name(name);
    EXPECT_TRUE(absl::IsNotFound(Uninvite(request).status()));
  }
  EXPECT_TRUE(federation_->Invite("bob").ok());
  federation_->clock().Advance(73 * 3600);
  EXPECT_THAT(*Invited(), IsEmpty());
}

TEST_F(AdminTest, AReadersCertificateIsIssuedOnceAndInTheLog) {
  const auto key = crypto::PrivateKey::Generate();
  const auto csr = crypto::SigningRequest::Create(*key, "somebody else");
  v1::IssueReaderCertificateRequest request;
  request.set_request_id(RandomUuid());
  request.set_name("readers/library");
  request.set_certificate_signing_request_pem(csr->ToPem());
  request.set_lifetime_s(3600);
  const auto issue = [&] {
    return Call<v1::ReaderCertificate>(
        admin(), &v1::AdminService::Stub::IssueReaderCertificate, request);
  };
  const auto first = issue();
  ASSERT_TRUE(first.ok()) << first.status();
  const auto certificate =
      crypto::Certificate::FromPem(first->certificate_pem());
  ASSERT_TRUE(certificate.ok()) << certificate.status();
  // The name is the operator's to give.
  EXPECT_THAT(certificate->uris(), ElementsAre("spiffe://test/reader/library"));
  EXPECT_EQ(certificate->common_name(), "library");
  EXPECT_EQ(certificate->public_key(), key->public_key());
  EXPECT_EQ(certificate->not_after_s(), first->expire_time_s());
  EXPECT_EQ(first->federation(), "test");
  EXPECT_EQ(first->address(), federation_->address());
  // The answer was lost.
  EXPECT_EQ(issue()->SerializeAsString(), first->SerializeAsString());
  v1::ListAuditRecordsRequest log;
  log.set_subject("readers/library");
  const auto records = Call<v1::ListAuditRecordsResponse>(
      *federation_->operator_stubs().audit,
      &v1::AuditService::Stub::ListAuditRecords, log);
  ASSERT_EQ(records->records_size(), 1);
  EXPECT_EQ(records->records(0).action(), "reader.issue");
  EXPECT_THAT(records->records(0).detail_json(),
              HasSubstr(certificate->serial()));

  request.set_request_id(RandomUuid());
  request.set_lifetime_s(366 * crypto::kDaySeconds);
  EXPECT_TRUE(absl::IsInvalidArgument(issue().status()));
  request.set_lifetime_s(-5);
  EXPECT_TRUE(absl::IsInvalidArgument(issue().status()));
  request.set_lifetime_s(0);
  request.set_certificate_signing_request_pem("no request");
  EXPECT_TRUE(absl::IsInvalidArgument(issue().status()));
}

TEST_F(AdminTest, ARevokedReaderIsRefusedOnItsNextCallAndListed) {
  const auto identity = federation_->MakeReader("library");
  ASSERT_TRUE(identity.ok()) << identity.status();
  const auto reader = federation_->Connect(*identity);
  const auto list = [&] {
    return Call<v1::ListReleasesResponse>(
               *reader->releases, &v1::ReleaseService::Stub::ListReleases,
               v1::ListReleasesRequest())
        .status();
  };
  ASSERT_TRUE(list().ok()) << list();
  v1::RevokeReaderRequest request;
  request.set_request_id(RandomUuid());
  request.set_name("readers/library");
  const auto revoke = [&] {
    return Call<v1::RevokedReader>(
        admin(), &v1::AdminService::Stub::RevokeReader, request);
  };
  const auto first = revoke();
  ASSERT_TRUE(first.ok()) << first.status();
  const Status refused = list();
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_TRUE(rpc::HasReason(refused, rpc::kRevoked));
  federation_->clock().Advance(10);
  request.set_request_id(RandomUuid());
  EXPECT_EQ(revoke()->revoke_time_s(), first->revoke_time_s());
  const auto revoked = Call<v1::ListRevokedReadersResponse>(
      admin(), &v1::AdminService::Stub::ListRevokedReaders,
      v1::ListRevokedReadersRequest());
  ASSERT_EQ(revoked->readers_size(), 1);
  EXPECT_EQ(revoked->readers(0).name(), "readers/library");
  // It outlives the server, and is in the log.
  ASSERT_TRUE(federation_->Restart().ok());
  v1::ListAuditRecordsRequest log;
  log.set_subject("readers/library");
  EXPECT_EQ(Call<v1::ListAuditRecordsResponse>(
                *federation_->operator_stubs().audit,
                &v1::AuditService::Stub::ListAuditRecords, log)
                ->records_size(),
            2);
  // The id is spent.
  EXPECT_TRUE(
      absl::IsFailedPrecondition(federation_->MakeReader("library").status()));
}

TEST_F(AdminTest, WhatIsCloseToALimitWaitsForTheOperator) {
  Settings settings;
  settings.admission.quarantine_above = 0.8;
  Start(settings);
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "plain", 1).ok());
  EXPECT_EQ(StateOf("plain"), v1::Contribution::ACCEPTED);
  MeasureCloseToALimit();
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "close", 2).ok());
  const auto close = federation_->GetContribution(*alice_, "close");
  EXPECT_EQ(close->state(), v1::Contribution::QUARANTINED);
  EXPECT_THAT(close->decision().reason(),
              HasSubstr("rms_ratio = 7.2 of at most 8"));
  EXPECT_THAT(*Filtered("state = QUARANTINED"),
              ElementsAre("contributions/close"));
  // It is in no release until the operator takes it.
  EXPECT_EQ(federation_->BuildRelease()->name(), "releases/1");
  EXPECT_EQ(Decide("close", v1::Decision::OUTCOME_REJECTED, "no")->state(),
            v1::Contribution::REJECTED);
}

TEST_F(AdminTest, TheOperatorHoldsWhatIsOnItsWay) {
  const auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  ASSERT_TRUE(federation_->Contribute(*alice_, *expert).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(
      Decide("exp", v1::Decision::OUTCOME_QUARANTINED, "").status()));
  const auto held =
      Decide("exp", v1::Decision::OUTCOME_QUARANTINED, "asked the owner");
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->state(), v1::Contribution::SUBMITTED);
  ASSERT_TRUE(federation_->RunJobs().ok());
  const auto waits = federation_->GetContribution(*alice_, "exp");
  EXPECT_EQ(waits->state(), v1::Contribution::QUARANTINED);
  EXPECT_THAT(waits->decision().reason(), HasSubstr("asked the owner"));
  EXPECT_FALSE(waits->decision().gates().empty());
  EXPECT_TRUE(absl::IsFailedPrecondition(federation_->BuildRelease().status()));
  EXPECT_EQ(Decide("exp", v1::Decision::OUTCOME_ACCEPTED, "")->state(),
            v1::Contribution::ACCEPTED);
  EXPECT_TRUE(federation_->BuildRelease().ok());
}

TEST_F(AdminTest, WhatIsAcceptedIsQuarantinedUnlessAReleaseHoldsIt) {
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "other", 2).ok());
  EXPECT_EQ(Decide("exp", v1::Decision::OUTCOME_QUARANTINED, "again")->state(),
            v1::Contribution::QUARANTINED);
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Decide("exp", v1::Decision::OUTCOME_QUARANTINED, "again").status()));
  ASSERT_TRUE(federation_->BuildRelease().ok());
  const Status held =
      Decide("other", v1::Decision::OUTCOME_QUARANTINED, "late").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(held)) << held;
  EXPECT_THAT(std::string(held.message()), HasSubstr("releases/1"));
  // Its owner can take it back from quarantine.
  ASSERT_TRUE(federation_->Withdraw(*alice_, "exp").ok());
  EXPECT_EQ(StateOf("exp"), v1::Contribution::WITHDRAWN);
}

TEST_F(AdminTest, ListsAreNarrowedByFilters) {
  auto bob = federation_->Enrol("bob");
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "a", 1).ok());
  ASSERT_TRUE(federation_->ContributeAndAdmit(*bob, "b", 2).ok());
  const auto expert = federation_->MakeExpert(*alice_, "c", 3);
  ASSERT_TRUE(Create(*alice_, expert->envelope_json, RandomUuid()).ok());
  ASSERT_TRUE(federation_->Withdraw(*bob, "b").ok());
  EXPECT_THAT(*Filtered(""), ElementsAre("contributions/c", "contributions/b",
                                         "contributions/a"));
  EXPECT_THAT(*Filtered("state = ACCEPTED"), ElementsAre("contributions/a"));
  EXPECT_THAT(*Filtered("contributor=\"contributors/alice\" AND state=CREATED"),
              ElementsAre("contributions/c"));
  EXPECT_THAT(*Filtered("anchor_digest = " + anchor_digest_ +
                        " AND contributor = contributors/bob"),
              ElementsAre("contributions/b"));
  EXPECT_THAT(*Filtered("anchor_digest = x"), IsEmpty());
  for (const char* wrong :
       {"state", "state =", "state = ACCEPTED AND", "state = ACCEPTED OR",
        "state = NO_SUCH", "colour = red", "state = \"ACCEPTED",
        "contributor = alice", "= =", "AND"}) {
    const Status status = Filtered(wrong).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << wrong << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("filter: "));
  }
  // Owners narrow their own lists, and see nothing else.
  v1::ListContributionsRequest own;
  own.set_filter("state = WITHDRAWN");
  const auto list = [&](const Owner& owner) {
    return Call<v1::ListContributionsResponse>(
        *owner.stubs->contributions,
        &v1::ContributionService::Stub::ListContributions, own);
  };
  EXPECT_EQ(list(*alice_)->contributions_size(), 0);
  ASSERT_EQ(list(*bob)->contributions_size(), 1);
  const v1::Contribution withdrawn = list(*bob)->contributions(0);
  EXPECT_GT(withdrawn.delete_time_s(), 0);
  EXPECT_GE(withdrawn.purge_time_s(), withdrawn.delete_time_s());
  own.set_filter("contributor = contributors/bob");
  EXPECT_TRUE(absl::IsInvalidArgument(list(*alice_).status()));
  // A token belongs to its filter.
  own.set_filter("state = ACCEPTED");
  own.set_page_size(1);
  own.set_page_token(list(*alice_)->next_page_token());
  EXPECT_TRUE(list(*alice_).ok());
  own.set_filter("state = CREATED");
  EXPECT_TRUE(absl::IsInvalidArgument(list(*alice_).status()));
}

TEST_F(AdminTest, ACollectionIsNotRepeatedForARepeatedRequest) {
  v1::CollectGarbageRequest request;
  request.set_request_id(RandomUuid());
  const auto collect = [&] {
    return Call<v1::CollectGarbageResponse>(
        admin(), &v1::AdminService::Stub::CollectGarbage, request);
  };
  ASSERT_TRUE(collect().ok());
  EXPECT_TRUE(collect().ok());
  request.set_request_id("x");
  EXPECT_TRUE(absl::IsInvalidArgument(collect().status()));
  request.clear_request_id();
  EXPECT_TRUE(collect().ok());
}

// The database was restored from before a renewal: what the owner signs with
// its new key counts all the same.
TEST_F(AdminTest, AKeyFromAfterTheBackupIsTakenFromTheConnection) {
  Owner owner = *federation_->Enrol("bob");
  auto key = crypto::PrivateKey::Generate();
  const auto certificate = federation_->ca().Issue(
      key->public_key(), {.common_name = "bob",
                          .uris = {"spiffe://test/contributor/bob"},
                          .usages = {crypto::KeyUsage::kClient}});
  ASSERT_TRUE(certificate.ok());
  owner.key = *std::move(key);
  owner.identity.certificate_pem = certificate->ToPem();
  owner.identity.private_key_pem = owner.key.ToPem();
  owner.stubs = federation_->Connect(owner.identity);
  ASSERT_TRUE(federation_->ContributeAndAdmit(owner, "b", 1).ok());
  const auto contribution = federation_->GetContribution(owner, "b");
  EXPECT_EQ(contribution->state(), v1::Contribution::ACCEPTED)
      << contribution->decision().reason();
}

}  // namespace
}  // namespace tributary::coordinator
