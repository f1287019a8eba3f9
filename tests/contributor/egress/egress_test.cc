#include <fstream>

#include "common/crypto/digest.h"
#include "common/safetensors/writer.h"
#include "contributor/egress/approval.h"
#include "contributor/egress/ledger.h"
#include "contributor/egress/report.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/contributor/egress/egress_fixture.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class EgressTest : public EgressFixture {
 protected:
  // Report and store, as the pipeline does.
  void Store() {
    const auto report = BuildEgressReport(Inputs());
    ASSERT_TRUE(report.ok()) << report.status();
    const Status stored = StoreReport(*home_, *report, expert_);
    ASSERT_TRUE(stored.ok()) << stored;
  }
  StatusOr<int> Approve(const SiteRules& rules = {},
                        const std::string& approver = "Ada",
                        const crypto::PrivateKey* approver_key = nullptr) {
    return ApproveReport(*home_, "letters", rules,
                         {.approver = approver, .approver_key = approver_key},
                         *key_, SystemClock());
  }
  StatusOr<ApprovedUpload> Load(const SiteRules& rules = {}) {
    return LoadApproved(*home_, "letters", rules, key_->public_key());
  }
};

TEST_F(EgressTest, TheReportNamesEveryByteThatWouldLeave) {
  const auto report = BuildEgressReport(Inputs());
  ASSERT_TRUE(report.ok()) << report.status();
  const auto digest = crypto::DigestFile(expert_);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(report->manifest.blob.sha256, digest->sha256);
  EXPECT_EQ(report->manifest.blob.size, digest->size);
  EXPECT_EQ(report->manifest.widths, (std::vector<int64_t>{0, 64}));
  // Layer 0: rows only; layer 1: three matrices and rows.
  ASSERT_EQ(report->manifest.tensors.size(), 7u);
  EXPECT_EQ(report->manifest.tensors[2].dtype, "BF16");
  EXPECT_THAT(report->text, HasSubstr(digest->sha256));
  EXPECT_THAT(report->text, HasSubstr("localhost:1"));
  EXPECT_THAT(report->text, HasSubstr("Made from     /data/letters.jsonl\n"));
  EXPECT_THAT(report->text, HasSubstr("one person approves by name"));
  EXPECT_THAT(report->text, HasSubstr("layers 0-0: none, layers 1-1: 64"));
  const auto again = ParseEgressReport(report->json);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->digest, report->digest);
  EXPECT_EQ(again->manifest, report->manifest);
}

TEST_F(EgressTest, AFileWithAnythingElseInItIsRefused) {
  const std::vector<float> zero = {0.0f};
  ASSERT_TRUE(safetensors::WriteFile(
                  expert_, {{{"private_text", safetensors::DType::kF32, {1}},
                             std::as_bytes(std::span(zero))}})
                  .ok());
  EXPECT_TRUE(absl::IsInvalidArgument(BuildEgressReport(Inputs()).status()));
}

TEST_F(EgressTest, RulesOfTheSiteWin) {
  EgressInputs inputs = Inputs();
  inputs.rules.min_documents = 21;
  EXPECT_TRUE(absl::IsPermissionDenied(BuildEgressReport(inputs).status()));
  inputs.rules = {.min_tokens = 5000};
  EXPECT_TRUE(absl::IsPermissionDenied(BuildEgressReport(inputs).status()));
  inputs.rules = {.max_upload_bytes = 100};
  const Status status = BuildEgressReport(inputs).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 100"));
}

TEST_F(EgressTest, OnlyAllowedAnchors) {
  EgressInputs inputs = Inputs();
  for (const char* allowed : {"tiny", "anchors/tiny"}) {
    inputs.rules.allowed_anchors = {"other", allowed};
    EXPECT_TRUE(BuildEgressReport(inputs).ok()) << allowed;
  }
  inputs.rules.allowed_anchors = {std::string(64, 'a')};
  EXPECT_TRUE(BuildEgressReport(inputs).ok());
  inputs.rules.allowed_anchors = {std::string(64, 'b'), "tin"};
  const Status status = BuildEgressReport(inputs).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("allowed_anchors"));
}

TEST_F(EgressTest, LossesStayWhereThePolicySaysSo) {
  const SiteRules withhold = {.statistics = SiteRules::Statistics::kWithhold};
  Store();
  EXPECT_TRUE(absl::IsPermissionDenied(Approve(withhold).status()));
  EgressInputs inputs = Inputs();
  inputs.rules = withhold;
  const auto report = BuildEgressReport(inputs);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->manifest.method.train_loss_last, 0);
  EXPECT_EQ(report->manifest.method.heldout_log_loss_own, 0);
  EXPECT_EQ(report->manifest.method.steps, 8);
  EXPECT_THAT(report->text, HasSubstr("no losses"));
  // The person on site still sees them.
  EXPECT_THAT(report->text, HasSubstr("4.5000 with the expert"));
  ASSERT_TRUE(StoreReport(*home_, *report, expert_).ok());
  ASSERT_TRUE(Approve(withhold).ok());
  EXPECT_TRUE(Load(withhold).ok());
}

TEST_F(EgressTest, StatisticsOfActivationsLeaveOnlyWhereThePolicyAllowsThem) {
  const fs::path statistics = folder_->path() / "second_moments.safetensors";
  const auto write = [&](const std::string& name) {
    const double value = 1;
    ASSERT_TRUE(safetensors::WriteFile(statistics,
                                       {{{name, safetensors::DType::kF64, {1}},
                                         std::as_bytes(std::span(&value, 1))}})
                    .ok());
  };
  write("layers.1.sum");
  EgressInputs inputs = Inputs();
  inputs.statistics_file = statistics;
  EXPECT_TRUE(absl::IsPermissionDenied(BuildEgressReport(inputs).status()));
  inputs.rules.router_statistics = SiteRules::Statistics::kSend;
  const auto report = BuildEgressReport(inputs);
  ASSERT_TRUE(report.ok()) << report.status();
  const auto digest = crypto::DigestFile(statistics);
  ASSERT_TRUE(report->manifest.router_statistics.has_value());
  EXPECT_EQ(report->manifest.router_statistics->sha256, digest->sha256);
  EXPECT_THAT(report->text, HasSubstr("router statistics"));
  EXPECT_THAT(report->text, HasSubstr(digest->sha256));

  ASSERT_TRUE(StoreReport(*home_, *report, expert_, statistics).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(Approve().status()));
  ASSERT_TRUE(Approve(inputs.rules).ok());
  const auto upload = Load(inputs.rules);
  ASSERT_TRUE(upload.ok()) << upload.status();
  EXPECT_EQ(upload->statistics(), report->manifest.router_statistics);
  // The policy can change its mind until the bytes are gone.
  EXPECT_TRUE(absl::IsPermissionDenied(Load().status()));
  std::ofstream(upload->statistics_file(), std::ios::app) << "x";
  EXPECT_TRUE(absl::IsDataLoss(Load(inputs.rules).status()));
  // Nothing but sums and counts.
  write("layers.1.x");
  EXPECT_THAT(BuildEgressReport(inputs).status().message(),
              HasSubstr("layers.1.x"));
}

TEST_F(EgressTest, TwoPersonsHaveToAgree) {
  Store();
  const SiteRules two = {.required_approvers = 2};
  EXPECT_EQ(*Approve(two, "Ada"), 1);
  EXPECT_EQ(*Approve(two, "Ada"), 1);
  const Status waiting = Load(two).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(waiting)) << waiting;
  EXPECT_THAT(std::string(waiting.message()), HasSubstr("1 of 2"));
  EXPECT_EQ(*Approve(two, "Grace"), 0);
  const auto upload = Load(two);
  ASSERT_TRUE(upload.ok()) << upload.status();
  EXPECT_EQ(upload->approver(), "Ada, Grace");
  // A policy that has become stricter holds for what was approved before.
  EXPECT_TRUE(
      absl::IsFailedPrecondition(Load({.required_approvers = 3}).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(
      Load({.max_upload_bytes = 10, .required_approvers = 2}).status()));
}

TEST_F(EgressTest, ApprovalsAreSignedWithTheKeysOfThePolicy) {
  const auto ada = crypto::PrivateKey::Generate();
  const auto grace = crypto::PrivateKey::Generate();
  const auto stranger = crypto::PrivateKey::Generate();
  const SiteRules rules = {
      .required_approvers = 2,
      .approver_keys = {ada->public_key(), grace->public_key()}};
  Store();
  EXPECT_TRUE(absl::IsUnauthenticated(Approve(rules, "Ada").status()));
  EXPECT_TRUE(
      absl::IsUnauthenticated(Approve(rules, "Ada", &*stranger).status()));
  EXPECT_EQ(*Approve(rules, "Ada", &*ada), 1);
  // One key under two names is one person.
  const Status same = Approve(rules, "Grace", &*ada).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(same)) << same;
  EXPECT_EQ(*Approve(rules, "Grace", &*grace), 0);
  ASSERT_TRUE(Load(rules).ok()) << Load(rules).status();

  // An approval that was forged or belongs to another report does not count.
  const fs::path file = home_->Egress("letters") / "approval.json";
  const std::string good = *ReadFile(file);
  std::string forged = good;
  forged.replace(forged.find("Grace"), 5, "Gracf");
  ASSERT_TRUE(WriteFileAtomic(file, forged).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Load(rules).status()));
  WriteTestExpert(expert_, 64, 0x3d);
  Store();
  EXPECT_FALSE(fs::exists(file));
  auto other = nlohmann::json::parse(good);
  other["report_digest"] = LoadReport(*home_, "letters")->digest;
  ASSERT_TRUE(WriteFileAtomic(file, other.dump()).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Load(rules).status()));
}

TEST_F(EgressTest, NothingIsHandedOutBeforeAPersonApproves) {
  Store();
  const Status missing = Load().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("egress approve"));

  ASSERT_TRUE(Approve().ok());
  const auto upload = Load();
  ASSERT_TRUE(upload.ok()) << upload.status();
  EXPECT_EQ(upload->approver(), "Ada");
  const auto manifest = manifest::OpenExpertManifest(
      upload->manifest_envelope_json(), key_->public_key());
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->approval.approver, "Ada");
  EXPECT_EQ(manifest->approval.mode, "person");
  EXPECT_EQ(manifest->contribution, "letters");
}

TEST_F(EgressTest, AnotherReportNeedsAnotherApproval) {
  Store();
  ASSERT_TRUE(Approve().ok());
  Store();
  EXPECT_TRUE(Load().ok()) << "the same report stays approved";
  WriteTestExpert(expert_, 64, 0x3d);
  Store();
  EXPECT_TRUE(absl::IsFailedPrecondition(Load().status()));
}

TEST_F(EgressTest, AnAlteredExpertFileIsNotSent) {
  Store();
  ASSERT_TRUE(Approve().ok());
  const fs::path file = home_->Egress("letters") / "expert.safetensors";
  fs::remove(file);
  WriteTestExpert(file, 64, 0x3e);
  EXPECT_TRUE(absl::IsDataLoss(Load().status()));
}

TEST_F(EgressTest, AManifestOfAnotherKeyIsNotSent) {
  Store();
  ASSERT_TRUE(Approve().ok());
  const auto other = crypto::PrivateKey::Generate();
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(absl::IsUnauthenticated(
      LoadApproved(*home_, "letters", {}, other->public_key()).status()));
}

TEST_F(EgressTest, TheLedgerRecordsApprovalAndUploadOnce) {
  Store();
  ASSERT_TRUE(Approve().ok());
  ASSERT_TRUE(Approve().ok());
  const auto upload = Load();
  ASSERT_TRUE(upload.ok());
  for (int i = 0; i < 2; ++i) {
    const Status recorded =
        RecordUpload(*home_, *upload, "localhost:1", *key_, SystemClock());
    ASSERT_TRUE(recorded.ok()) << recorded;
  }
  const auto ledger = Ledger::Open(home_->Ledger(), *key_);
  ASSERT_TRUE(ledger.ok()) << ledger.status();
  ASSERT_EQ(ledger->entries().size(), 2u);
  EXPECT_EQ(ledger->entries()[0].action, "egress.approve");
  EXPECT_EQ(ledger->entries()[1].action, "egress.upload");
  EXPECT_THAT(ledger->entries()[1].detail_json, HasSubstr("localhost:1"));
}

TEST_F(EgressTest, AnAlteredLedgerIsRefusedAndACutLineIsDropped) {
  for (const char* subject : {"a", "b"}) {
    auto ledger = Ledger::Open(home_->Ledger(), *key_);
    ASSERT_TRUE(ledger.ok());
    ASSERT_TRUE(
        ledger->Append("me", "test", subject, "{}", SystemClock()).ok());
  }
  const std::string good = *ReadFile(home_->Ledger());
  ASSERT_TRUE(
      WriteFileAtomic(home_->Ledger(), good + "{\"payload\":\"half").ok());
  {
    auto ledger = Ledger::Open(home_->Ledger(), *key_);
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    EXPECT_EQ(ledger->entries().size(), 2u);
    ASSERT_TRUE(ledger->Append("me", "test", "c", "{}", SystemClock()).ok());
  }
  {
    const auto ledger = Ledger::Open(home_->Ledger(), *key_);
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    EXPECT_EQ(ledger->entries().size(), 3u);
  }
  const std::string without_first = good.substr(good.find('\n') + 1);
  ASSERT_TRUE(WriteFileAtomic(home_->Ledger(), without_first).ok());
  EXPECT_FALSE(Ledger::Open(home_->Ledger(), *key_).ok());
}

}  // namespace
}  // namespace tributary::contributor
