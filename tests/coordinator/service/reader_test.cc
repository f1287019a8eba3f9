#include "common/manifest/audit_record.h"
#include "tests/coordinator/service/contribution_fixture.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;
using ReaderTest = ContributionTest;

TEST_F(ReaderTest, AReleaseThatHurtsPublicTextIsNotPublished) {
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  federation_->script().release_loss = 3.2;
  const auto failed = federation_->BuildRelease();
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_EQ(failed->state(), v1::Release::FAILED);
  EXPECT_THAT(failed->reason(), HasSubstr("public log-loss rises by 0.2000"));
  EXPECT_FALSE(std::filesystem::exists(federation_->home().release(1)));
  const Status latest =
      federation_->GetRelease(*alice_, "releases/latest").status();
  EXPECT_TRUE(absl::IsNotFound(latest));
  EXPECT_TRUE(rpc::HasReason(latest, rpc::kNoRelease));
  EXPECT_TRUE(absl::IsNotFound(
      federation_->GetRelease(*alice_, "releases/1").status()));
  federation_->script().release_loss = 3.0;
  EXPECT_EQ(federation_->BuildRelease()->name(), "releases/2");
}

TEST_F(ReaderTest, ReadersGetWhatEveryOwnerSigned) {
  const auto bob = federation_->Enrol("bob");
  ASSERT_TRUE(bob.ok());
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp-a", 1).ok());
  ASSERT_TRUE(federation_->ContributeAndAdmit(*bob, "exp-b", 2).ok());
  ASSERT_TRUE(federation_->BuildRelease().ok());
  v1::ListReleaseExpertsRequest request;
  request.set_name("releases/latest");
  request.set_page_size(1);
  std::vector<v1::ReleaseExpert> experts;
  do {
    const auto page = Call<v1::ListReleaseExpertsResponse>(
        *alice_->stubs->releases, &v1::ReleaseService::Stub::ListReleaseExperts,
        request);
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_EQ(page->experts_size(), 1);
    experts.push_back(page->experts(0));
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  ASSERT_EQ(experts.size(), 2u);
  EXPECT_EQ(experts[1].contribution(), "contributions/exp-b");
  const auto certificate =
      crypto::Certificate::FromPem(experts[1].certificate_pem());
  ASSERT_TRUE(certificate.ok());
  EXPECT_EQ(certificate->public_key(), bob->key.public_key());
  EXPECT_TRUE(manifest::OpenExpertManifest(experts[1].manifest_envelope_json(),
                                           certificate->public_key())
                  .ok());
  ASSERT_TRUE(federation_->Withdraw(*bob, "exp-b").ok());
  request.set_name("releases/1");
  request.clear_page_token();
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Call<v1::ListReleaseExpertsResponse>(
          *alice_->stubs->releases,
          &v1::ReleaseService::Stub::ListReleaseExperts, request)
          .status()));
}

TEST_F(ReaderTest, EarlierCheckpointsAreSignedAgain) {
  const auto ask = [&](int64_t size) {
    v1::GetCheckpointRequest request;
    request.set_size(size);
    return Call<v1::Checkpoint>(
        *alice_->stubs->audit, &v1::AuditService::Stub::GetCheckpoint, request);
  };
  const auto before = ask(0);
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(federation_->Enrol("bob").ok());
  EXPECT_GT(ask(0)->size(), before->size());
  const auto again = ask(before->size());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->head_hash(), before->head_hash());
  EXPECT_TRUE(manifest::OpenAuditCheckpoint(again->envelope_json(),
                                            federation_->signer())
                  .ok());
  EXPECT_TRUE(absl::IsOutOfRange(ask(1'000'000).status()));
}

TEST_F(ReaderTest, AnchorsArePublishedOnce) {
  EXPECT_EQ(federation_->PublishAnchor().value_or(""), anchor_digest_);
  const auto renamed = federation_->PublishAnchor("other");
  ASSERT_TRUE(renamed.ok());
  EXPECT_NE(*renamed, anchor_digest_);
  // Contributions for the older anchor come too late now.
  const auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  EXPECT_EQ(expert->manifest.anchor_digest, *renamed);
}

TEST_F(ReaderTest, WatchTellsEveryChange) {
  const auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  ASSERT_TRUE(federation_->Contribute(*alice_, *expert).ok());
  v1::WatchContributionRequest request;
  request.set_name("contributions/exp");
  grpc::ClientContext context;
  const auto reader =
      alice_->stubs->contributions->WatchContribution(&context, request);
  v1::Contribution seen;
  ASSERT_TRUE(reader->Read(&seen));
  EXPECT_EQ(seen.state(), v1::Contribution::SUBMITTED);
  ASSERT_TRUE(federation_->RunJobs().ok());
  while (seen.state() != v1::Contribution::ACCEPTED && reader->Read(&seen)) {
  }
  EXPECT_EQ(seen.state(), v1::Contribution::ACCEPTED);
  context.TryCancel();
  while (reader->Read(&seen)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(ReaderTest, ListsPageInOrderWithBoundTokens) {
  for (int i = 0; i < 5; ++i) {
    const auto expert =
        federation_->MakeExpert(*alice_, "exp-" + std::to_string(i), i);
    ASSERT_TRUE(Create(*alice_, expert->envelope_json, RandomUuid()).ok());
  }
  v1::ListContributionsRequest request;
  request.set_page_size(2);
  const auto list = [&](const Owner& owner) {
    return Call<v1::ListContributionsResponse>(
        *owner.stubs->contributions,
        &v1::ContributionService::Stub::ListContributions, request);
  };
  std::vector<std::string> names;
  do {
    const auto page = list(*alice_);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const v1::Contribution& item : page->contributions()) {
      names.push_back(item.name());
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(names,
              testing::ElementsAre("contributions/exp-4", "contributions/exp-3",
                                   "contributions/exp-2", "contributions/exp-1",
                                   "contributions/exp-0"));
  request.set_page_token(list(*alice_)->next_page_token());
  const auto bob = federation_->Enrol("bob");
  EXPECT_TRUE(absl::IsInvalidArgument(list(*bob).status()));
  request.clear_page_token();
  EXPECT_EQ(list(*bob)->contributions_size(), 0);
}

TEST_F(ReaderTest, EvaluationsAndCheckpoints) {
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  ASSERT_TRUE(federation_->BuildRelease().ok());
  v1::ReportEvaluationRequest report;
  report.set_request_id(RandomUuid());
  report.set_release("releases/1");
  v1::Evaluation& evaluation = *report.add_evaluations();
  evaluation.set_text_label("exp");
  evaluation.set_model("release");
  evaluation.set_log_loss(2.5);
  evaluation.set_tokens(1000);
  const auto send = [&] {
    return Call<v1::ReportEvaluationResponse>(
               *alice_->stubs->releases,
               &v1::ReleaseService::Stub::ReportEvaluation, report)
        .status();
  };
  EXPECT_TRUE(send().ok());
  EXPECT_TRUE(send().ok());
  const auto release = federation_->GetRelease(*alice_, "releases/1");
  EXPECT_EQ(release->evaluations_size(), 3);
  evaluation.set_text_label("Some private sentence.");
  EXPECT_TRUE(absl::IsInvalidArgument(send()));

  const auto checkpoint = Call<v1::Checkpoint>(
      *alice_->stubs->audit, &v1::AuditService::Stub::GetCheckpoint,
      v1::GetCheckpointRequest());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto opened = manifest::OpenAuditCheckpoint(checkpoint->envelope_json(),
                                                    federation_->signer());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->head_hash, checkpoint->head_hash());
  EXPECT_GT(opened->size, 5);
}

}  // namespace
}  // namespace tributary::coordinator
