#include "tests/coordinator/storage/sample_state.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/audit_log.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/storage/request_store.h"
#include "coordinator/storage/upload_store.h"
#include "coordinator/storage/withdrawal_store.h"

namespace tributary::coordinator {
namespace {

using testing::ElementsAre;

constexpr char kAnchor[] = "anchor-digest";
constexpr int64_t kNow = 1'700'000'000;

manifest::BlobName Blob(char digit, uint64_t size) {
  return {.sha256 = std::string(64, digit), .size = size};
}

struct Named {
  const char* id;
  const char* contributor;
  ContributionState state;
};

constexpr Named kContributions[] = {
    {"created", "clinic", ContributionState::kCreated},
    {"uploading", "clinic", ContributionState::kUploading},
    {"submitted", "clinic", ContributionState::kSubmitted},
    {"validating", "bank", ContributionState::kValidating},
    {"accepted", "clinic", ContributionState::kAccepted},
    {"accepted-too", "bank", ContributionState::kAccepted},
    {"quarantined", "bank", ContributionState::kQuarantined},
    {"rejected", "bank", ContributionState::kRejected},
    {"withdrawn", "clinic", ContributionState::kWithdrawn},
    {"purged", "clinic", ContributionState::kPurged},
};

// `i`-th contribution: 100, 200, ... bytes.
manifest::BlobName ExpertBlob(size_t i) {
  return Blob("0123456789"[i], 100 * (i + 1));
}

void FillContributors(Transaction& transaction) {
  ContributorStore store(transaction);
  for (const char* id : {"clinic", "bank", "gone", "invited"}) {
    store.EnsureInvited(id, kNow);
    store.AddInvitation({.secret_sha256 = std::string("secret of ") + id,
                         .contributor = id,
                         .create_time_s = kNow,
                         .expire_time_s = kNow + 3600});
  }
  for (const char* id : {"clinic", "bank", "gone"}) {
    store.UseInvitation(std::string("secret of ") + id, kNow + 10);
    store.SetState(id, ContributorState::kEnrolled);
    store.AddCertificate({.serial = std::string("serial of ") + id,
                          .contributor = id,
                          .key_id = std::string("key of ") + id,
                          .pem = "pem",
                          .create_time_s = kNow + 10,
                          .expire_time_s = kNow + 2'592'000});
  }
  store.SetState("gone", ContributorState::kRevoked);
}

void FillContributions(Transaction& transaction) {
  for (size_t i = 0; i < std::size(kContributions); ++i) {
    const Named& named = kContributions[i];
    ContributionStore(transaction)
        .Add({.id = named.id,
              .contributor = named.contributor,
              .state = named.state,
              .anchor_digest = kAnchor,
              .blob = ExpertBlob(i).ToString(),
              .manifest_digest = std::string("manifest of ") + named.id,
              .manifest_json = "{}",
              .envelope_json = "{}",
              .create_time_s = kNow + static_cast<int64_t>(i),
              .update_time_s = kNow + 100});
  }
  BlobTable blobs(transaction);
  for (const size_t i : {2, 3, 4, 5, 6}) {
    blobs.Add(ExpertBlob(i),
              std::string("contributions/") + kContributions[i].id, kNow);
  }
  blobs.Add(Blob('a', 5000), "anchors/small", kNow);
  blobs.Add(Blob('b', 60), "releases/1", kNow);
  UploadStore uploads(transaction);
  uploads.Put({.contribution = "uploading",
               .blob = ExpertBlob(1).ToString(),
               .upload_id = "up-1",
               .size_bytes = 200,
               .committed_size = 64,
               .epoch = 2,
               .expire_time_s = kNow + 604'800});
  uploads.Put({.contribution = "accepted",
               .blob = ExpertBlob(4).ToString(),
               .upload_id = "up-2",
               .size_bytes = 500,
               .committed_size = 500,
               .complete = true,
               .epoch = 1,
               .expire_time_s = kNow});
}

void FillReleases(Transaction& transaction) {
  ReleaseStore releases(transaction);
  const int64_t first = releases.Create(kAnchor, "discriminant",
                                        {"accepted", "withdrawn"}, kNow + 200);
  releases.Publish({.number = first,
                    .digest = "digest of 1",
                    .manifest_json = "{}",
                    .envelope_json = "{}",
                    .create_time_s = kNow + 210});
  const int64_t second = releases.Create(kAnchor, "discriminant",
                                         {"accepted", "accepted-too"}, kNow);
  releases.Publish({.number = second,
                    .digest = "digest of 2",
                    .manifest_json = "{}",
                    .envelope_json = "{}",
                    .create_time_s = kNow + 220});
  releases.PutEvaluations(second, "coordinator",
                          {{.text_label = "public",
                            .model = "release",
                            .log_loss = 2.5,
                            .tokens = 4096}});
  releases.SetState(first, ReleaseState::kWithdrawn,
                    "contributions/withdrawn was withdrawn");
  WithdrawalStore(transaction)
      .Add({.contribution = "withdrawn",
            .state = WithdrawalState::kRebuilt,
            .anchor_digest = kAnchor,
            .receipt_json = "{}",
            .create_time_s = kNow + 230,
            .purge_time_s = kNow + 3830,
            .withdrawn_releases = {first}});
  WithdrawalStore(transaction).SetNewRelease("withdrawn", second);
}

}  // namespace

Status FillSampleState(Transaction& transaction) {
  FillContributors(transaction);
  AnchorStore(transaction)
      .Add({.id = "small",
            .digest = kAnchor,
            .import_digest = "import",
            .manifest_json = "{}",
            .envelope_json = "{}",
            .create_time_s = kNow});
  FillContributions(transaction);
  FillReleases(transaction);
  RequestStore(transaction)
      .Add({.caller = "spiffe://f/contributor/clinic",
            .request_id = "11111111-2222-4333-8444-555555555555",
            .method = "CreateContribution",
            .body_sha256 = "body"},
           "accepted", kNow);
  JobStore jobs(transaction);
  jobs.Add(JobKind::kValidate, "contributions/submitted", kNow, kNow);
  jobs.Add(JobKind::kWithdraw, "withdrawals/withdrawn", kNow + 3830, kNow);
  for (int64_t i = 0; i < 3; ++i) {
    RETURN_IF_ERROR(AuditLog(transaction)
                        .Append({.actor = "coordinator",
                                 .action = "contribution.decide",
                                 .subject = "contributions/accepted"},
                                {{"step", i}}, kNow + i));
  }
  return absl::OkStatus();
}

void ExpectSampleState(Transaction& transaction) {
  ContributorStore contributors(transaction);
  EXPECT_EQ(contributors.Count(), 4);
  EXPECT_EQ(contributors.Find("gone")->state, ContributorState::kRevoked);
  EXPECT_EQ(contributors.Find("clinic")->certificate_expire_time_s,
            kNow + 2'592'000);
  EXPECT_EQ(contributors.FindInvitation("secret of bank")->use_time_s,
            kNow + 10);
  EXPECT_FALSE(contributors.FindInvitation("secret of invited")->use_time_s);
  EXPECT_EQ(contributors.FindCertificate("bank", "key of bank")->pem, "pem");

  ContributionStore contributions(transaction);
  for (size_t i = 0; i < std::size(kContributions); ++i) {
    const auto row = contributions.Find(kContributions[i].id);
    ASSERT_TRUE(row) << kContributions[i].id;
    EXPECT_EQ(row->state, kContributions[i].state);
    EXPECT_EQ(row->contributor, kContributions[i].contributor);
    EXPECT_EQ(row->blob, ExpertBlob(i).ToString());
  }
  EXPECT_EQ(contributions.ListAccepted(kAnchor).size(), 2u);
  EXPECT_EQ(contributions.CountLive("clinic"), 4);
  UploadStore uploads(transaction);
  EXPECT_EQ(uploads.ReservedBytes("clinic", ""), 100 + 200 + 300 + 500);
  EXPECT_EQ(uploads.ReservedBytes("bank", "validating"), 600 + 700);
  EXPECT_EQ(uploads.ListOf("uploading")[0].committed_size, 64);
  EXPECT_EQ(uploads.ListExpired(kNow + 604'801).size(), 1u);
  EXPECT_EQ(BlobTable(transaction).TotalBytes(),
            300 + 400 + 500 + 600 + 700 + 5000 + 60);

  ReleaseStore releases(transaction);
  EXPECT_EQ(releases.Latest()->digest, "digest of 2");
  EXPECT_EQ(releases.Find(1)->state, ReleaseState::kWithdrawn);
  EXPECT_THAT(releases.ContributionsOf(1),
              ElementsAre("accepted", "withdrawn"));
  EXPECT_EQ(releases.EvaluationsOf(2)[0].log_loss, 2.5);
  const auto withdrawal = WithdrawalStore(transaction).Find("withdrawn");
  ASSERT_TRUE(withdrawal);
  EXPECT_EQ(withdrawal->state, WithdrawalState::kRebuilt);
  EXPECT_EQ(withdrawal->new_release, 2);
  EXPECT_THAT(withdrawal->withdrawn_releases, ElementsAre(1));

  EXPECT_EQ(RequestStore(transaction)
                .Find({.caller = "spiffe://f/contributor/clinic",
                       .request_id = "11111111-2222-4333-8444-555555555555",
                       .method = "CreateContribution",
                       .body_sha256 = "body"})
                .value(),
            "accepted");
  EXPECT_EQ(JobStore(transaction).List().size(), 2u);
  EXPECT_EQ(JobStore(transaction).TakeDue(kNow)->subject,
            "contributions/submitted");
  const auto chain =
      AuditLog(transaction).Verify([](const manifest::AuditRecord&) {});
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_EQ(chain->size(), 3);
}

}  // namespace tributary::coordinator
