#include "contributor/pipeline/contribute.h"

#include <optional>

#include "common/config/defaults.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/resource_name.h"
#include "common/manifest/spiffe.h"
#include "contributor/client/copies.h"
#include "contributor/pipeline/release_evaluation.h"
#include "contributor/pipeline/site_rules.h"
#include "gmock/gmock.h"
#include "tests/contributor/pipeline/fakes.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A home with an identity, private text and a coordinator with an anchor.
class ContributeTest : public EgressFixture {
 protected:
  void SetUp() override {
    EgressFixture::SetUp();
    auto ca = crypto::CertificateAuthority::CreateSelfSigned(
        "test", crypto::kDaySeconds, SystemClock());
    auto signer = crypto::PrivateKey::Generate();
    ASSERT_TRUE(ca.ok() && signer.ok());
    signer_.emplace(*std::move(signer));
    const auto issue = [&](const crypto::PublicKey& key,
                           const manifest::Identity& identity) {
      return *ca->Issue(key, {.common_name = "x", .uris = {identity.ToUri()}});
    };
    identity_.emplace(Identity{
        .federation = "test",
        .contributor_id = "letters",
        .address = "localhost:1",
        .key = *key_,
        .certificate = issue(key_->public_key(),
                             {"test", manifest::Role::kContributor, "letters"}),
        .ca = ca->certificate(),
        .signer = issue(signer_->public_key(),
                        {"test", manifest::Role::kSigner, ""})});
    auto cache = BlobCache::Create(home_->Cache());
    ASSERT_TRUE(cache.ok());
    cache_ = *std::move(cache);
    text_ = folder_->path() / "text.txt";
    ASSERT_TRUE(WriteFileAtomic(text_, "private").ok());
    config_.mutable_data()->add_train(text_.string());
    config_.mutable_expert()->set_width(64);
    config_.mutable_policy()->set_approval(config::SitePolicy::AUTOMATIC);
    config_ = *config::CompleteConfig(config_, "letters");
    PublishAnchor();
    coordinator_.decision.set_state(v1::Contribution::ACCEPTED);
  }

  manifest::BlobName PutBlob(const std::string& bytes) {
    const manifest::BlobName name = {.sha256 = crypto::Sha256Hex(bytes),
                                     .size = bytes.size()};
    coordinator_.blobs[name.ToString()] = bytes;
    return name;
  }

  void PublishAnchor() {
    manifest_.name = "tiny";
    manifest_.files = {{"config.json", PutBlob(kTestConfig)},
                       {"public/statistics.safetensors", PutBlob("statistics")},
                       {"public/text/prose.jsonl", PutBlob("{}")}};
    manifest_.model = {.model_type = "llama",
                       .num_layers = 2,
                       .hidden_size = 16,
                       .intermediate_size = 64,
                       .vocab_size = 64,
                       .block = 64};
    manifest_.public_text = {{"prose", "public/text/prose.jsonl"}};
    manifest_.expert_policy = {.first_layer = 1,
                               .max_width = 64,
                               .top_k = 2,
                               .window_tokens = 16,
                               .windows_per_class = 2,
                               .heldout_windows = 2,
                               .sample_stride = 2};
    coordinator_.anchor.set_name("anchors/tiny");
    coordinator_.anchor.set_digest(*manifest_.Digest());
    coordinator_.anchor.set_manifest_json(*manifest_.ToJson());
    coordinator_.anchor.set_envelope_json(
        *manifest::SignAnchorManifest(manifest_, *signer_));
  }

  void PublishRelease(int64_t number) {
    manifest::ReleaseManifest release;
    release.anchor = {.name = "tiny", .digest = *manifest_.Digest()};
    release.routing = {.top_k = 2};
    release.router_blob = PutBlob("router rows");
    manifest::ReleaseStatement statement;
    statement.release = manifest::ReleaseName(number);
    statement.manifest_digest = *release.Digest();
    statement.create_time_s = 1;
    coordinator_.release.set_name(statement.release);
    coordinator_.release.set_state(v1::Release::PUBLISHED);
    coordinator_.release.set_digest(statement.manifest_digest);
    coordinator_.release.set_manifest_json(*release.ToJson());
    coordinator_.release.set_envelope_json(
        *manifest::SignRelease(statement, *signer_));
  }

  PipelineContext Context() {
    return {.home = *home_,
            .config = config_,
            .identity = *identity_,
            .client = coordinator_,
            .cache = *cache_,
            .worker = worker_,
            .clock = SystemClock(),
            .progress = nullptr};
  }

  std::optional<crypto::PrivateKey> signer_;
  std::optional<Identity> identity_;
  std::unique_ptr<BlobCache> cache_;
  fs::path text_;
  config::ContributorConfig config_;
  manifest::AnchorManifest manifest_;
  FakeCoordinator coordinator_;
  FakeWorker worker_;
};

TEST_F(ContributeTest, GoesFromTextToDecision) {
  const auto sent = AdvanceContribution(Context());
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->state(), v1::Contribution::SUBMITTED);
  const auto decided = WaitForDecision(Context());
  ASSERT_TRUE(decided.ok());
  EXPECT_TRUE(DecisionStatus(*decided).ok());
  EXPECT_THAT(worker_.runs, ElementsAre(kPrepareText, kCalibrate, kFitRouter,
                                        kTrain, kExport, kEvaluate));
  const auto approved = LoadApproved(*home_, "letters", {}, key_->public_key());
  ASSERT_TRUE(approved.ok()) << approved.status();
  EXPECT_EQ(coordinator_.uploaded["letters"], approved->blob());
  const auto manifest = manifest::OpenExpertManifest(
      approved->manifest_envelope_json(), key_->public_key());
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->anchor_digest, *manifest_.Digest());
  EXPECT_EQ(manifest->method.documents, 20);
  EXPECT_EQ(manifest->method.heldout_log_loss_own, 4.5);
  EXPECT_EQ(manifest->approval.mode, "automatic");
}

TEST_F(ContributeTest, KilledAnywhereItContinues) {
  worker_.fail_at = kTrain;
  EXPECT_FALSE(AdvanceContribution(Context()).ok());
  coordinator_.upload_error = Unavailable("connection lost");
  EXPECT_TRUE(absl::IsUnavailable(AdvanceContribution(Context()).status()));
  const auto sent = AdvanceContribution(Context());
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->state(), v1::Contribution::SUBMITTED);
  // Only the killed stage ran twice, and the expert was registered once.
  EXPECT_THAT(worker_.runs, ElementsAre(kPrepareText, kCalibrate, kFitRouter,
                                        kTrain, kTrain, kExport, kEvaluate));
  EXPECT_EQ(coordinator_.contributions.size(), 1u);
  const auto again = AdvanceContribution(Context());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->state(), v1::Contribution::SUBMITTED);
}

TEST_F(ContributeTest, NothingIsSentWithoutAPersonsApproval) {
  config_.mutable_policy()->set_approval(config::SitePolicy::PERSON);
  const Status status = AdvanceContribution(Context()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("egress approve"));
  EXPECT_TRUE(coordinator_.contributions.empty());
  ASSERT_TRUE(ApproveReport(*home_, "letters", *RulesOf(config_),
                            {.approver = "Ada"}, *key_, SystemClock())
                  .ok());
  EXPECT_TRUE(AdvanceContribution(Context()).ok());
  EXPECT_EQ(coordinator_.uploaded.size(), 1u);
}

TEST_F(ContributeTest, TheSitesPolicyStopsTheUpload) {
  config_.mutable_policy()->set_max_upload_bytes(10);
  EXPECT_TRUE(
      absl::IsPermissionDenied(AdvanceContribution(Context()).status()));
  EXPECT_TRUE(coordinator_.uploaded.empty());
}

TEST_F(ContributeTest, ADecidedContributionIsLeftAlone) {
  v1::Contribution& rejected = coordinator_.contributions["letters"];
  rejected.set_name("contributions/letters");
  rejected.set_state(v1::Contribution::REJECTED);
  rejected.mutable_decision()->set_reason("too loud");
  v1::GateResult* gate = rejected.mutable_decision()->add_gates();
  gate->set_gate("evaluation");
  v1::Measurement* measured = gate->add_measurements();
  measured->set_name("public_loss_increase");
  measured->set_value(0.25);
  measured->set_maximum(0.05);
  const auto found = AdvanceContribution(Context());
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(worker_.runs.empty());
  const Status status = DecisionStatus(*found);
  EXPECT_TRUE(absl::IsAborted(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("gate evaluation"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.25 (at most 0.05)"));
}

TEST_F(ContributeTest, AnAnchorOfAStrangerIsRefused) {
  const auto stranger = crypto::PrivateKey::Generate();
  ASSERT_TRUE(stranger.ok());
  coordinator_.anchor.set_envelope_json(
      *manifest::SignAnchorManifest(manifest_, *stranger));
  EXPECT_TRUE(absl::IsUnauthenticated(AdvanceContribution(Context()).status()));
}

TEST_F(ContributeTest, StagesRunWithoutANetworkOnceTheAnchorIsThere) {
  ASSERT_TRUE(PipelineAnchor(Context(), AnchorChoice::kStored).ok());
  coordinator_.reachable = false;
  const auto anchor = PipelineAnchor(Context(), AnchorChoice::kStored);
  ASSERT_TRUE(anchor.ok()) << anchor.status();
  EXPECT_EQ(anchor->digest, *manifest_.Digest());
  EXPECT_TRUE(absl::IsUnavailable(
      PipelineAnchor(Context(), AnchorChoice::kCurrent).status()));
  // A file that was lost comes back from the cache.
  fs::remove(anchor->directory / "config.json");
  ASSERT_TRUE(PipelineAnchor(Context(), AnchorChoice::kStored).ok());
  EXPECT_TRUE(fs::exists(anchor->directory / "config.json"));
}

TEST_F(ContributeTest, AReleaseIsMeasuredOnceAndNumbersAreReported) {
  ASSERT_TRUE(AdvanceContribution(Context()).ok());
  PublishRelease(1);
  for (int i = 0; i < 2; ++i) {
    const auto evaluation = EvaluateRelease(Context(), "releases/latest");
    ASSERT_TRUE(evaluation.ok()) << evaluation.status();
    EXPECT_EQ(evaluation->release, "releases/1");
    EXPECT_EQ(evaluation->losses.size(), 6u);
    EXPECT_EQ(evaluation->foreign_logit, -1.5);
    // Merging costs nothing, but a neighbour's row claims the text.
    EXPECT_EQ(evaluation->MergingLoss(), 0);
    EXPECT_THAT(WarningsOf(*evaluation),
                testing::AllOf(testing::HasSubstr("contributions/neighbour"),
                               testing::Not(testing::HasSubstr("behind"))));
  }
  EXPECT_EQ(std::count(worker_.runs.begin(), worker_.runs.end(),
                       "evaluate_release_1"),
            1);
  EXPECT_TRUE(IsEvaluated(*home_, "letters", 1));
  EXPECT_FALSE(IsEvaluated(*home_, "letters", 2));
  ASSERT_EQ(coordinator_.reported.size(), 6u);
  EXPECT_EQ(coordinator_.reported[0].text_label(), "letters");
  EXPECT_EQ(coordinator_.reported[2].model(), "release");
  EXPECT_EQ(coordinator_.reported[3].text_label(), "public");
  EXPECT_TRUE(fs::exists(home_->Releases() / "1" / "router.safetensors"));
  EXPECT_TRUE(fs::exists(home_->Releases() / "1" / "anchor" / "config.json"));
}

TEST_F(ContributeTest, AReleaseWithAnotherManifestThanSignedIsRefused) {
  ASSERT_TRUE(AdvanceContribution(Context()).ok());
  PublishRelease(1);
  coordinator_.release.set_name("releases/2");
  EXPECT_TRUE(absl::IsUnauthenticated(
      EvaluateRelease(Context(), "releases/2").status()));
}

TEST_F(ContributeTest, CopiesOfWithdrawnReleasesAreMarked) {
  PublishRelease(1);
  const fs::path copy = folder_->path() / "copy";
  const FetchContext fetch = {.client = coordinator_,
                              .identity = *identity_,
                              .cache = *cache_,
                              .clock = SystemClock(),
                              .progress = nullptr};
  const auto release = FetchRelease(fetch, "releases/1",
                                    [&](int64_t /*number*/) { return copy; });
  ASSERT_TRUE(release.ok()) << release.status();
  ASSERT_TRUE(RecordCopy(*home_, "releases/1", copy).ok());
  EXPECT_TRUE(MarkWithdrawnCopies(*home_, {coordinator_.release})->empty());
  coordinator_.release.set_state(v1::Release::WITHDRAWN);
  coordinator_.release.set_reason("letters opted out");
  const auto marked = MarkWithdrawnCopies(*home_, {coordinator_.release});
  ASSERT_TRUE(marked.ok()) << marked.status();
  EXPECT_THAT(*marked, ElementsAre(copy));
  EXPECT_THAT(*ReadFile(copy / kWithdrawnFile), HasSubstr("letters opted out"));
  EXPECT_TRUE(MarkWithdrawnCopies(*home_, {coordinator_.release})->empty());
}

}  // namespace
}  // namespace tributary::contributor
