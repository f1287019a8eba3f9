#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/files.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/audit_log.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/decision.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/query.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {
namespace {

using testing::ElementsAre;

class StoresTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("stores");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    auto database = Database::Open(directory_->path() / "state.sqlite",
                                   Database::Mode::kCreate);
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    Run([](Transaction& transaction) {
      ContributorStore(transaction).EnsureInvited("owner", 1);
      AnchorStore(transaction).Add({.id = "anchor", .digest = "d"});
      for (const char* id : {"b", "a"}) {
        ContributionStore(transaction)
            .Add({.id = id,
                  .contributor = "owner",
                  .state = ContributionState::kAccepted,
                  .anchor_digest = "d",
                  .blob = "blobs/sha256/" + std::string(64, '0') + "/100"});
      }
    });
  }

  template <typename Body>
  void Run(Body&& body) {
    const Status status = database_->Transact([&](Transaction& transaction) {
      body(transaction);
      return absl::OkStatus();
    });
    ASSERT_TRUE(status.ok()) << status;
  }

  std::optional<TemporaryDirectory> directory_;
  std::unique_ptr<Database> database_;
};

TEST_F(StoresTest, ReleaseStatesFollowTheNewestServedOne) {
  Run([](Transaction& transaction) {
    ReleaseStore releases(transaction);
    EXPECT_FALSE(releases.Latest());
    const int64_t one = releases.Create("d", "discriminant", {"a"}, 1);
    const int64_t two = releases.Create("d", "discriminant", {"b", "a"}, 2);
    EXPECT_GT(two, one);
    EXPECT_FALSE(releases.Latest());
    EXPECT_THAT(releases.ContributionsOf(two), ElementsAre("a", "b"));
    releases.Publish({.number = one, .digest = "x"});
    releases.Publish({.number = two, .digest = "y"});
    EXPECT_EQ(releases.Find(one)->state, ReleaseState::kSuperseded);
    EXPECT_EQ(releases.Latest()->number, two);
    releases.SetState(two, ReleaseState::kWithdrawn, "b left");
    EXPECT_EQ(releases.Find(one)->state, ReleaseState::kPublished);
    EXPECT_EQ(releases.Latest()->number, one);
    EXPECT_EQ(releases.ListHolding("b").size(), 1u);
    releases.SetState(one, ReleaseState::kWithdrawn, "a left");
    EXPECT_FALSE(releases.Latest());
    EXPECT_EQ(releases.Create("d", "discriminant", {"a"}, 3), two + 1);
  });
}

TEST_F(StoresTest, EvaluationsOfAnEvaluatorAreReplaced) {
  Run([](Transaction& transaction) {
    ReleaseStore releases(transaction);
    const int64_t number = releases.Create("d", "discriminant", {"a"}, 1);
    const EvaluationRow row{.text_label = "public",
                            .model = "release",
                            .log_loss = 2,
                            .tokens = 10};
    releases.PutEvaluations(number, "coordinator", {row});
    releases.PutEvaluations(number, "contributors/owner",
                            {row, {.model = "m"}});
    releases.PutEvaluations(number, "contributors/owner", {row});
    EXPECT_EQ(releases.EvaluationsOf(number).size(), 2u);
    releases.Erase(number);
    EXPECT_THAT(releases.EvaluationsOf(number), testing::IsEmpty());
  });
}

TEST_F(StoresTest, WithdrawalsRunFirstAndWaitForTheirTime) {
  Run([](Transaction& transaction) {
    JobStore jobs(transaction);
    jobs.Add(JobKind::kValidate, "contributions/a", 10, 10);
    jobs.Add(JobKind::kValidate, "contributions/a", 10, 10);
    jobs.Add(JobKind::kBuildRelease, "releases/1", 10, 10);
    jobs.Add(JobKind::kWithdraw, "withdrawals/b", 20, 10);
    EXPECT_EQ(jobs.List().size(), 3u);
    EXPECT_EQ(jobs.NextDue(), 10);
    EXPECT_FALSE(jobs.TakeDue(9));
    auto build = jobs.TakeDue(10);
    EXPECT_EQ(build->kind, JobKind::kBuildRelease);
    EXPECT_EQ(build->attempts, 1);
    EXPECT_EQ(jobs.TakeDue(20)->kind, JobKind::kWithdraw);
    EXPECT_EQ(jobs.TakeDue(20)->kind, JobKind::kValidate);
    EXPECT_FALSE(jobs.TakeDue(1000));
    EXPECT_EQ(jobs.RequeueRunning(1000), 3);
    jobs.Remove(build->sequence);
    EXPECT_EQ(jobs.TakeDue(1000)->kind, JobKind::kWithdraw);
  });
}

TEST_F(StoresTest, AClockThatWasAheadDelaysNoCheck) {
  Run([](Transaction& transaction) {
    JobStore jobs(transaction);
    jobs.Add(JobKind::kValidate, "contributions/a", 5000, 5000);
    jobs.Add(JobKind::kWithdraw, "withdrawals/b", 5007, 5000);
    EXPECT_FALSE(jobs.TakeDue(20));
    EXPECT_EQ(jobs.RequeueRunning(10), 0);
    EXPECT_EQ(jobs.TakeDue(16)->kind, JobKind::kValidate);
    EXPECT_FALSE(jobs.TakeDue(16));
    EXPECT_EQ(jobs.TakeDue(17)->kind, JobKind::kWithdraw);
  });
}

TEST_F(StoresTest, CommittedSizeNeverDecreasesAndEpochsFence) {
  Run([](Transaction& transaction) {
    UploadStore uploads(transaction);
    UploadRow row{.contribution = "a",
                  .blob = "blob",
                  .upload_id = "u",
                  .size_bytes = 100,
                  .epoch = 1};
    uploads.Put(row);
    EXPECT_TRUE(uploads.SetCommitted(row, 50, 9));
    EXPECT_TRUE(uploads.SetCommitted(row, 40, 9));
    EXPECT_EQ(uploads.Find("a", "blob")->committed_size, 50);
    UploadRow newer = *uploads.Find("a", "blob");
    ++newer.epoch;
    uploads.Put(newer);
    EXPECT_FALSE(uploads.SetCommitted(row, 60, 9));
    EXPECT_FALSE(uploads.SetComplete(row));
    EXPECT_FALSE(uploads.HasComplete("owner", "blob"));
    EXPECT_TRUE(uploads.SetComplete(newer));
    EXPECT_TRUE(uploads.HasComplete("owner", "blob"));
    EXPECT_FALSE(uploads.HasComplete("other", "blob"));
    EXPECT_EQ(uploads.ReservedBytes("owner", ""), 200);
    EXPECT_EQ(uploads.ReservedBytes("owner", "a"), 100);
    EXPECT_THAT(uploads.ListExpired(1000), testing::IsEmpty());
  });
}

TEST_F(StoresTest, PoliciesOfAContributorReadBack) {
  Run([](Transaction& transaction) {
    ContributorStore contributors(transaction);
    EXPECT_EQ(contributors.Find("owner")->policy, ContributorPolicy());
    const ContributorPolicy policy = {
        .max_width = 64, .max_bytes = 1000, .require_operator = false};
    contributors.SetPolicy("owner", policy);
    EXPECT_EQ(contributors.Find("owner")->policy, policy);
    EXPECT_EQ(contributors.List("", 10)[0].policy, policy);
    contributors.SetPolicy("owner", {});
    EXPECT_EQ(contributors.Find("owner")->policy, ContributorPolicy());
  });
}

TEST_F(StoresTest, AuditLogIsAChain) {
  Run([](Transaction& transaction) {
    AuditLog log(transaction);
    EXPECT_EQ(log.Head().size(), 0);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(log.Append({.actor = "coordinator",
                              .action = "test.step",
                              .subject = "releases/1"},
                             {{"i", i}}, 100 + i)
                      .ok());
    }
    int seen = 0;
    const auto chain =
        log.Verify([&](const manifest::AuditRecord&) { ++seen; });
    ASSERT_TRUE(chain.ok()) << chain.status();
    EXPECT_EQ(seen, 3);
    EXPECT_EQ(chain->head_hash(), log.Head().head_hash());
  });
  Run([](Transaction& transaction) {
    Execute(transaction,
            "UPDATE audit SET record_json = replace(record_json, '101', '111')"
            " WHERE position = 1");
    const auto chain =
        AuditLog(transaction).Verify([](const manifest::AuditRecord&) {});
    EXPECT_TRUE(absl::IsDataLoss(chain.status())) << chain.status();
  });
}

TEST_F(StoresTest, DecisionsReadBack) {
  const Decision decision{.outcome = Outcome::kRejected,
                          .reason = "gate values: NaN",
                          .gates = {{.gate = "values",
                                     .passed = false,
                                     .detail = "NaN",
                                     .measurements = {{.name = "rms",
                                                       .value = std::nan(""),
                                                       .maximum = 8.0}}}},
                          .decide_time_s = 7};
  const auto json = decision.ToJson();
  ASSERT_TRUE(json.ok()) << json.status();
  const auto read = Decision::FromJson(*json);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->outcome, Outcome::kRejected);
  EXPECT_EQ(read->gates[0].measurements[0].maximum, 8.0);
  EXPECT_FALSE(read->gates[0].measurements[0].minimum);
  EXPECT_TRUE(std::isnan(read->gates[0].measurements[0].value));
}

}  // namespace
}  // namespace tributary::coordinator
