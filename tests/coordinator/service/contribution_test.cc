#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/base/random.h"
#include "common/crypto/digest.h"
#include "common/manifest/audit_record.h"
#include "common/manifest/release_manifest.h"
#include "coordinator/merge/release_directory.h"
#include "tests/coordinator/service/contribution_fixture.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;

TEST_F(ContributionTest, FromCreationToARelease) {
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  const auto contribution = federation_->GetContribution(*alice_, "exp");
  ASSERT_TRUE(contribution.ok()) << contribution.status();
  EXPECT_EQ(contribution->state(), v1::Contribution::ACCEPTED);
  EXPECT_EQ(contribution->decision().outcome(), v1::Decision::OUTCOME_ACCEPTED);
  std::vector<std::string> gates;
  for (const v1::GateResult& gate : contribution->decision().gates()) {
    EXPECT_TRUE(gate.passed()) << gate.detail();
    gates.push_back(gate.gate());
  }
  EXPECT_THAT(gates, testing::ElementsAre("policy", "manifest", "evaluation"));

  const auto release = federation_->BuildRelease();
  ASSERT_TRUE(release.ok()) << release.status();
  EXPECT_EQ(release->state(), v1::Release::PUBLISHED);
  const auto latest = federation_->GetRelease(*alice_, "releases/latest");
  ASSERT_TRUE(latest.ok()) << latest.status();
  EXPECT_EQ(latest->digest(), crypto::Sha256Hex(latest->manifest_json()));
  const auto statement =
      manifest::OpenRelease(latest->envelope_json(), federation_->signer());
  ASSERT_TRUE(statement.ok()) << statement.status();
  EXPECT_EQ(statement->manifest_digest, latest->digest());
  const auto manifest =
      manifest::ReleaseManifest::FromJson(latest->manifest_json());
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->anchor.digest, anchor_digest_);
  // Others read the release's files, which they could not before.
  const auto bob = federation_->Enrol("bob");
  EXPECT_TRUE(Download(*bob->stubs, manifest->experts[0].blob.ToString()).ok());
  EXPECT_TRUE(Download(*bob->stubs, manifest->router_blob.ToString()).ok());
  const auto verified =
      VerifyRelease(federation_->home().release(1), federation_->signer());
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_TRUE(verified->unchecked.empty());
  EXPECT_TRUE(std::filesystem::is_empty(federation_->home().jobs()));
}

TEST_F(ContributionTest, RequestsCanBeRepeated) {
  const auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  const std::string id = RandomUuid();
  const auto first = Create(*alice_, expert->envelope_json, id);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Create(*alice_, expert->envelope_json, id)->SerializeAsString(),
            first->SerializeAsString());
  // Another id, the same manifest: the same contribution.
  EXPECT_TRUE(Create(*alice_, expert->envelope_json, RandomUuid()).ok());
  const auto other = federation_->MakeExpert(*alice_, "exp", 2);
  EXPECT_TRUE(absl::IsInvalidArgument(
      Create(*alice_, other->envelope_json, id).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(
      Create(*alice_, other->envelope_json, RandomUuid()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Create(*alice_, expert->envelope_json, "not-a-uuid").status()));
}

TEST_F(ContributionTest, DryRunsLeaveNothing) {
  const auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  EXPECT_TRUE(Create(*alice_, expert->envelope_json, RandomUuid(), true).ok());
  EXPECT_TRUE(
      absl::IsNotFound(federation_->GetContribution(*alice_, "exp").status()));
}

TEST_F(ContributionTest, ManifestsOfOthersAndForOthersAreRefused) {
  const auto bob = federation_->Enrol("bob");
  const auto bobs = federation_->MakeExpert(*bob, "exp", 1);
  ASSERT_TRUE(bobs.ok());
  EXPECT_TRUE(absl::IsUnauthenticated(
      Create(*alice_, bobs->envelope_json, RandomUuid()).status()));

  // Signed by alice's key, but speaking for bob.
  manifest::ExpertManifest forged = bobs->manifest;
  const auto envelope = manifest::SignExpertManifest(forged, alice_->key);
  EXPECT_TRUE(absl::IsInvalidArgument(
      Create(*alice_, *envelope, RandomUuid()).status()));
  forged = federation_->MakeExpert(*alice_, "exp", 1)->manifest;
  forged.federation = "elsewhere";
  EXPECT_TRUE(absl::IsInvalidArgument(
      Create(*alice_, *manifest::SignExpertManifest(forged, alice_->key),
             RandomUuid())
          .status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Create(*alice_, "nonsense", RandomUuid()).status()));
}

TEST_F(ContributionTest, AWrongAnchorIsAFailedPrecondition) {
  manifest::ExpertManifest stale =
      federation_->MakeExpert(*alice_, "exp", 1)->manifest;
  stale.anchor_digest = crypto::Sha256Hex("another anchor");
  const Status status =
      Create(*alice_, *manifest::SignExpertManifest(stale, alice_->key),
             RandomUuid())
          .status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(rpc::HasReason(status, rpc::kStaleAnchor));
  EXPECT_THAT(std::string(status.message()), HasSubstr(anchor_digest_));
}

TEST_F(ContributionTest, QuotasAreChecked) {
  Settings settings;
  settings.quotas.max_contributions = 1;
  Start(settings);
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "one", 1).ok());
  const auto two = federation_->MakeExpert(*alice_, "two", 2);
  const Status status =
      Create(*alice_, two->envelope_json, RandomUuid()).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(rpc::HasReason(status, rpc::kQuota));
  ASSERT_TRUE(federation_->Withdraw(*alice_, "one").ok());
  EXPECT_TRUE(Create(*alice_, two->envelope_json, RandomUuid()).ok());

  settings.quotas.max_contributions = 10;
  settings.quotas.max_bytes = 1000;
  Start(settings);
  const auto large = federation_->MakeExpert(*alice_, "large", 1);
  EXPECT_TRUE(absl::IsResourceExhausted(
      Create(*alice_, large->envelope_json, RandomUuid()).status()));
}

TEST_F(ContributionTest, SubmittingNeedsTheBlob) {
  const auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  ASSERT_TRUE(Create(*alice_, expert->envelope_json, RandomUuid()).ok());
  v1::SubmitContributionRequest submit;
  submit.set_request_id(RandomUuid());
  submit.set_name("contributions/exp");
  const auto call = [&] {
    return Call<v1::Contribution>(
        *alice_->stubs->contributions,
        &v1::ContributionService::Stub::SubmitContribution, submit);
  };
  EXPECT_TRUE(absl::IsFailedPrecondition(call().status()));
  ASSERT_TRUE(Upload(*alice_->stubs, "contributions/exp", expert->manifest.blob,
                     expert->bytes)
                  .ok());
  EXPECT_EQ(call()->state(), v1::Contribution::SUBMITTED);
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_EQ(StateOf("exp"), v1::Contribution::ACCEPTED);
  EXPECT_EQ(federation_->script().validations, 1);
}

TEST_F(ContributionTest, AFileThatIsNotAsSignedIsRejected) {
  // The manifest lists another digest for the first tensor, the file is what
  // its own name says.
  auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  expert->manifest.tensors[0].sha256 = crypto::Sha256Hex("other");
  expert->envelope_json =
      *manifest::SignExpertManifest(expert->manifest, alice_->key);
  ASSERT_TRUE(federation_->Contribute(*alice_, *expert).ok());
  ASSERT_TRUE(federation_->RunJobs().ok());
  const auto contribution = federation_->GetContribution(*alice_, "exp");
  EXPECT_EQ(contribution->state(), v1::Contribution::REJECTED);
  EXPECT_EQ(federation_->script().validations, 0);
  const v1::GateResult& last = *contribution->decision().gates().rbegin();
  EXPECT_EQ(last.gate(), "manifest");
  EXPECT_FALSE(last.passed());
}

TEST_F(ContributionTest, TruncatedFilesAreRejectedWithoutNamingOurPaths) {
  auto expert = federation_->MakeExpert(*alice_, "exp", 1);
  expert->bytes.resize(expert->bytes.size() - 8);
  expert->manifest.blob = {crypto::Sha256Hex(expert->bytes),
                           expert->bytes.size()};
  expert->envelope_json =
      *manifest::SignExpertManifest(expert->manifest, alice_->key);
  const Status offered = federation_->Contribute(*alice_, *expert);
  if (offered.ok()) {
    ASSERT_TRUE(federation_->RunJobs().ok());
    const auto contribution = federation_->GetContribution(*alice_, "exp");
    EXPECT_EQ(contribution->state(), v1::Contribution::REJECTED);
    EXPECT_THAT(contribution->decision().reason(),
                testing::Not(HasSubstr(federation_->path().string())));
  } else {
    EXPECT_TRUE(absl::IsInvalidArgument(offered)) << offered;
  }
}

TEST_F(ContributionTest, FailedGatesRejectWithTheirNumbers) {
  federation_->script().validate = [](const job::ValidateExpert&,
                                      const CancellationToken&) {
    job::ValidateExpertResult result;
    job::Gate& gate = *result.add_gates();
    gate.set_name("values");
    gate.set_detail("not finite");
    job::GateMeasurement& measurement = *gate.add_measurements();
    measurement.set_name("rms_ratio");
    measurement.set_value(9);
    measurement.set_maximum(8);
    return result;
  };
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  const auto contribution = federation_->GetContribution(*alice_, "exp");
  EXPECT_EQ(contribution->state(), v1::Contribution::REJECTED);
  EXPECT_EQ(contribution->decision().reason(), "gate values: not finite");
  EXPECT_EQ(
      contribution->decision().gates().rbegin()->measurements(0).maximum(), 8);
  EXPECT_TRUE(absl::IsFailedPrecondition(federation_->BuildRelease().status()));
}

TEST_F(ContributionTest, ADyingWorkerIsAnErrorThatCanBeSubmittedAgain) {
  federation_->script().validate =
      [](const job::ValidateExpert&,
         const CancellationToken&) -> StatusOr<job::ValidateExpertResult> {
    return Internal("worker ended by signal 9");
  };
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  for (int i = 0; i < 5; ++i) {
    federation_->clock().Advance(600);
    ASSERT_TRUE(federation_->RunJobs().ok());
  }
  auto contribution = federation_->GetContribution(*alice_, "exp");
  EXPECT_EQ(contribution->decision().outcome(), v1::Decision::OUTCOME_ERROR);
  EXPECT_EQ(contribution->state(), v1::Contribution::UPLOADING);
  EXPECT_EQ(federation_->script().validations, 3);
  federation_->script().validate = nullptr;
  v1::SubmitContributionRequest submit;
  submit.set_request_id(RandomUuid());
  submit.set_name("contributions/exp");
  ASSERT_TRUE(Call<v1::Contribution>(
                  *alice_->stubs->contributions,
                  &v1::ContributionService::Stub::SubmitContribution, submit)
                  .ok());
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_EQ(StateOf("exp"), v1::Contribution::ACCEPTED);
}

TEST_F(ContributionTest, QuarantineWaitsForTheOperator) {
  Settings settings;
  settings.admission.require_operator = true;
  Start(settings);
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  EXPECT_EQ(StateOf("exp"), v1::Contribution::QUARANTINED);
  EXPECT_TRUE(absl::IsInvalidArgument(
      Decide("exp", v1::Decision::OUTCOME_REJECTED, "").status()));
  EXPECT_EQ(Decide("exp", v1::Decision::OUTCOME_ACCEPTED, "")->state(),
            v1::Contribution::ACCEPTED);
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Decide("exp", v1::Decision::OUTCOME_ACCEPTED, "").status()));
}

}  // namespace
}  // namespace tributary::coordinator
