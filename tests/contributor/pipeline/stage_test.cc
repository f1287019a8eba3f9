#include "contributor/pipeline/stage.h"

#include <filesystem>
#include <optional>

#include "common/config/defaults.h"
#include "contributor/pipeline/fingerprint.h"
#include "contributor/pipeline/settings.h"
#include "gmock/gmock.h"
#include "tests/contributor/pipeline/fakes.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("stage-test");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    store_ = std::make_unique<StageStore>(folder_->path() / "pipeline");
    first_.name = "first";
    first_.job.add_tasks()->mutable_prepare_text()->set_window_tokens(64);
    first_.outputs = {kTokensFile};
    second_.name = "second";
    second_.job.add_tasks()->mutable_calibrate();
    second_.after = {"first"};
    second_.outputs = {kTrunkFile};
  }

  Status RunBoth() {
    RETURN_IF_ERROR(store_->Run(first_, worker_, nullptr).status());
    return store_->Run(second_, worker_, nullptr).status();
  }

  std::optional<TemporaryDirectory> folder_;
  std::unique_ptr<StageStore> store_;
  FakeWorker worker_;
  Stage first_;
  Stage second_;
};

TEST_F(StageTest, AFinishedStageIsNotRunAgain) {
  ASSERT_TRUE(RunBoth().ok());
  ASSERT_TRUE(RunBoth().ok());
  EXPECT_THAT(worker_.runs, ElementsAre("first", "second"));
  EXPECT_EQ(*store_->State(second_), StageState::kDone);
}

TEST_F(StageTest, AStageNeedsTheStagesBeforeIt) {
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Key(second_).status()));
  EXPECT_EQ(*store_->State(second_), StageState::kMissing);
}

TEST_F(StageTest, AKilledStageRunsAgainInItsFolder) {
  worker_.fail_at = "first";
  EXPECT_FALSE(RunBoth().ok());
  EXPECT_EQ(*store_->State(first_), StageState::kIncomplete);
  const fs::path checkpoint = store_->Folder("first") / "checkpoint";
  ASSERT_TRUE(WriteFileAtomic(checkpoint, "half way").ok());
  ASSERT_TRUE(RunBoth().ok());
  EXPECT_TRUE(fs::exists(checkpoint));
}

TEST_F(StageTest, ChangedInputsStartAnewFromThereOn) {
  ASSERT_TRUE(RunBoth().ok());
  const fs::path stray = store_->Folder("first") / "checkpoint";
  ASSERT_TRUE(WriteFileAtomic(stray, "of the old inputs").ok());
  first_.input_digests = {"other text"};
  EXPECT_EQ(*store_->State(first_), StageState::kMissing);
  ASSERT_TRUE(RunBoth().ok());
  EXPECT_FALSE(fs::exists(stray));
  EXPECT_THAT(worker_.runs, ElementsAre("first", "second", "first", "second"));
}

TEST_F(StageTest, ALostOutputIsMadeAgain) {
  ASSERT_TRUE(RunBoth().ok());
  fs::remove(store_->Folder("second") / kTrunkFile);
  EXPECT_EQ(*store_->State(second_), StageState::kIncomplete);
  ASSERT_TRUE(RunBoth().ok());
  EXPECT_THAT(worker_.runs, ElementsAre("first", "second", "second"));
}

TEST_F(StageTest, LimitsDoNotCountButSettingsDo) {
  const std::string key = *store_->Key(first_);
  first_.job.set_threads(2);
  first_.job.set_memory_limit_bytes(1 << 30);
  first_.job.set_id("other");
  EXPECT_EQ(*store_->Key(first_), key);
  first_.job.set_seed(7);
  EXPECT_NE(*store_->Key(first_), key);
}

TEST_F(StageTest, AWorkerThatLeavesNoOutputIsAnError) {
  first_.outputs = {"something else"};
  EXPECT_TRUE(absl::IsInternal(store_->Run(first_, worker_, nullptr).status()));
}

TEST_F(StageTest, FingerprintsSeeChangesWithoutOpeningFiles) {
  const fs::path text = folder_->path() / "text";
  ASSERT_TRUE(MakeDirectories(text).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(FingerprintPaths({text}).status()));
  ASSERT_TRUE(WriteFileAtomic(text / "a.txt", "secret").ok());
  ASSERT_EQ(chmod((text / "a.txt").c_str(), 0), 0);
  const auto before = FingerprintPaths({text});
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(*FingerprintPaths({text}), *before);
  ASSERT_TRUE(WriteFileAtomic(text / "b.txt", "more").ok());
  EXPECT_NE(*FingerprintPaths({text}), *before);
  const Status missing = FingerprintPaths({text / "none"}).status();
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("none"));
}

// Settings.

AnchorFacts Anchor() {
  return {.name = "anchors/tiny",
          .digest = std::string(64, 'a'),
          .directory = "/anchor",
          .num_layers = 4,
          .intermediate_size = 384,
          .block = 128,
          .first_layer = 2,
          .max_width = 384,
          .window_tokens = 64};
}

config::ContributorConfig Config(int64_t width) {
  config::ContributorConfig config;
  config.mutable_data()->add_train("/text");
  config.mutable_expert()->set_width(width);
  return *config::CompleteConfig(config, "site-a");
}

TEST(SettingsTest, DefaultsComeFromTheAnchor) {
  const auto settings = ResolveSettings(Config(256), Anchor());
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->contribution, "site-a");
  EXPECT_EQ(settings->first_layer, 2);
  EXPECT_EQ(settings->data.window_tokens(), 64);
  EXPECT_EQ(settings->recipe, Recipe::kTrain);
  EXPECT_EQ(settings->text_share, 0.5);
  EXPECT_EQ(ResolveSettings(Config(0), Anchor())->width, 384);
}

TEST(SettingsTest, WhatThePolicyRefusesIsNamed) {
  for (const int64_t width : {64, 100, 512}) {
    const Status status = ResolveSettings(Config(width), Anchor()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << width;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expert.width"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("128"));
  }
  config::ContributorConfig config = Config(128);
  config.mutable_expert()->set_first_layer(1);
  EXPECT_FALSE(ResolveSettings(config, Anchor()).ok());
  config = Config(384);
  config.mutable_expert()->set_recipe(config::Expert::PRUNE_AND_DISTIL);
  EXPECT_FALSE(ResolveSettings(config, Anchor()).ok());
}

TEST(SettingsTest, TextToTrainOnIsNeeded) {
  config::ContributorConfig config = Config(128);
  config.mutable_data()->clear_train();
  const Status status = ResolveSettings(config, Anchor()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("data.train"));
}

TEST(PlanTest, TheNarrowRecipeGoesThroughATeacher) {
  config::ContributorConfig config = Config(128);
  config.mutable_expert()->set_recipe(config::Expert::PRUNE_AND_DISTIL);
  const auto settings = ResolveSettings(config, Anchor());
  ASSERT_TRUE(settings.ok()) << settings.status();
  const AnchorFacts anchor = Anchor();
  const StageStore store("/home/pipeline/site-a");
  const auto stages = PlanStages(*settings, anchor, store, "text");
  std::vector<std::string> names;
  for (const Stage& stage : stages) {
    names.push_back(stage.name);
  }
  EXPECT_THAT(names, ElementsAre(kPrepareText, kCalibrate, kFitRouter, kTrain,
                                 kPrune, kDistill, kExport, kEvaluate));
  EXPECT_EQ(stages[3].job.tasks(0).train().widths(0), 384);
  EXPECT_EQ(stages[4].job.tasks(0).prune().widths(0), 128);
  const job::Distill& distill = stages[5].job.tasks(0).distill();
  EXPECT_EQ(distill.teacher_path(), store.Output(kTrain, kTrainedFile));
  EXPECT_EQ(distill.initial_path(), store.Output(kPrune, kPrunedFile));
  EXPECT_EQ(distill.text_share(), 0.5);
  EXPECT_EQ(FindStage(stages, "nothing"), nullptr);
}

TEST(SettingsTest, WidthsCanBeSharesListsOrChosen) {
  config::ContributorConfig config = Config(0);
  config.mutable_expert()->set_fraction(0.7);
  EXPECT_EQ(ResolveSettings(config, Anchor())->width, 256);
  config.mutable_expert()->set_fraction(0.01);
  EXPECT_EQ(ResolveSettings(config, Anchor())->width, 128);
  config.mutable_expert()->clear_fraction();
  for (const int64_t width : {0, 0, 256, 128}) {
    config.mutable_expert()->add_widths(width);
  }
  const auto listed = ResolveSettings(config, Anchor());
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_THAT(listed->widths, ElementsAre(0, 0, 256, 128));
  EXPECT_EQ(listed->width, 256);
  config.mutable_expert()->set_widths(1, 128);
  EXPECT_THAT(ResolveSettings(config, Anchor()).status().message(),
              HasSubstr("got 128 in layer 1, wanted 0 below first_layer"));
  config.mutable_expert()->mutable_widths()->RemoveLast();
  EXPECT_THAT(ResolveSettings(config, Anchor()).status().message(),
              HasSubstr("expert.widths: got 3 values"));
  config = Config(128);
  config.mutable_expert()->set_fraction(0.5);
  EXPECT_THAT(config::CompleteConfig(config, "site-a").status().message(),
              HasSubstr("one of width, fraction"));
  config = Config(0);
  config.mutable_expert()->set_quality_bound(0.05);
  EXPECT_THAT(config::CompleteConfig(config, "site-a").status().message(),
              HasSubstr("expert.quality_bound"));
}

TEST(PlanTest, OnlyExpertsOfTheAnchorsWidthLeaveAsDifferences) {
  config::ContributorConfig config = Config(384);
  config.mutable_expert()->set_rank(16);
  const AnchorFacts anchor = Anchor();
  const StageStore store("/home/pipeline/site-a");
  const auto settings = ResolveSettings(config, anchor);
  ASSERT_TRUE(settings.ok()) << settings.status();
  int exports = 0;
  for (const Stage& stage : PlanStages(*settings, anchor, store, "text")) {
    if (stage.name == kExport) {
      EXPECT_EQ(stage.job.tasks(0).export_expert().rank(), 16);
      ++exports;
    }
  }
  EXPECT_EQ(exports, 1);
  config.mutable_expert()->set_width(128);
  EXPECT_THAT(ResolveSettings(config, anchor).status().message(),
              HasSubstr("expert.rank: got 16 with width 128"));
}

TEST(PlanTest, ChosenWidthsAreMeasuredBeforeTraining) {
  config::ContributorConfig config = Config(0);
  config.mutable_expert()->set_parameter_budget(200000);
  const AnchorFacts anchor = Anchor();
  const StageStore store("/home/pipeline/site-a");
  const auto plan = [&] {
    return PlanStages(*ResolveSettings(config, anchor), anchor, store, "text");
  };
  auto stages = plan();
  EXPECT_EQ(stages[3].name, kPrune);
  const job::Prune& chosen = stages[3].job.tasks(0).prune();
  EXPECT_EQ(chosen.parameter_budget(), 200000);
  EXPECT_EQ(chosen.max_width(), 384);
  EXPECT_TRUE(chosen.expert_path().empty());
  EXPECT_EQ(chosen.tokens_path(), store.Output(kPrepareText, kTokensFile));
  EXPECT_EQ(stages[4].name, kTrain);
  EXPECT_EQ(stages[4].job.tasks(0).train().initial_path(),
            store.Output(kPrune, kPrunedFile));
  EXPECT_EQ(stages[4].job.tasks(0).train().widths_size(), 0);

  config.mutable_expert()->clear_parameter_budget();
  config.mutable_expert()->set_recipe(config::Expert::PRUNE_AND_DISTIL);
  config.mutable_expert()->set_quality_bound(0.05);
  stages = plan();
  EXPECT_EQ(stages[3].name, kTrain);
  EXPECT_EQ(stages[3].job.tasks(0).train().widths(0), 384);
  const job::Prune& bounded = stages[4].job.tasks(0).prune();
  EXPECT_EQ(bounded.quality_bound(), 0.05);
  EXPECT_EQ(bounded.expert_path(), store.Output(kTrain, kTrainedFile));
  EXPECT_EQ(bounded.widths_size(), 0);
}

TEST(PlanTest, RowsCanBeTrainedWithTheExpert) {
  config::ContributorConfig config = Config(128);
  config.mutable_expert()->set_router("trained");
  const StageStore store("/home/pipeline/site-a");
  const auto stages =
      PlanStages(*ResolveSettings(config, Anchor()), Anchor(), store, "text");
  const job::Train& train = FindStage(stages, kTrain)->job.tasks(0).train();
  EXPECT_EQ(train.rows(), job::Train::TRAINED);
  EXPECT_EQ(train.router_path(), "");
  EXPECT_EQ(train.activations_path(),
            store.Output(kCalibrate, kActivationsFile));
  EXPECT_EQ(
      FindStage(stages, kExport)->job.tasks(0).export_expert().router_path(),
      store.Output(kTrain, kTrainedRowsFile));
  // Nothing is folded, so there is nothing to compare with.
  EXPECT_EQ(FindStage(stages, kEvaluate)
                ->job.tasks(0)
                .evaluate_domain()
                .models_size(),
            2);
  config.mutable_expert()->set_recipe(config::Expert::PRUNE_AND_DISTIL);
  EXPECT_TRUE(
      absl::IsInvalidArgument(ResolveSettings(config, Anchor()).status()));
}

TEST(PlanTest, RowsCanKeepTheirBias) {
  config::ContributorConfig config = Config(128);
  config.mutable_expert()->set_unfolded_rows(true);
  const StageStore store("/home/pipeline/site-a");
  const auto stages =
      PlanStages(*ResolveSettings(config, Anchor()), Anchor(), store, "text");
  const std::string rows = store.Output(kFitRouter, kRouterUnfoldedFile);
  EXPECT_EQ(FindStage(stages, kTrain)->job.tasks(0).train().router_path(),
            rows);
  EXPECT_EQ(
      FindStage(stages, kExport)->job.tasks(0).export_expert().router_path(),
      rows);
  EXPECT_EQ(FindStage(stages, kEvaluate)
                ->job.tasks(0)
                .evaluate_domain()
                .models_size(),
            2);
  for (const char* router : {"closed_form", "trained"}) {
    config.mutable_expert()->set_router(router);
    EXPECT_TRUE(
        absl::IsInvalidArgument(ResolveSettings(config, Anchor()).status()))
        << router;
  }
}

TEST(PlanTest, StatisticsAreMadeOnlyWhereThePolicyAllowsThem) {
  config::ContributorConfig config = Config(128);
  config.mutable_expert()->set_router_statistics(true);
  EXPECT_TRUE(
      absl::IsPermissionDenied(ResolveSettings(config, Anchor()).status()));
  config.mutable_policy()->set_allow_router_statistics(true);
  const StageStore store("/home/pipeline/site-a");
  const auto stages =
      PlanStages(*ResolveSettings(config, Anchor()), Anchor(), store, "text");
  const Stage* calibrate = FindStage(stages, kCalibrate);
  EXPECT_TRUE(calibrate->job.tasks(0).calibrate().write_second_moments());
  EXPECT_EQ(calibrate->outputs.back(), kSecondMomentsFile);
}

TEST(PlanTest, PrivateTextIsReadableInItsOwnStageOnly) {
  const auto settings = ResolveSettings(Config(128), Anchor());
  ASSERT_TRUE(settings.ok());
  const AnchorFacts anchor = Anchor();
  const StageStore store("/home/pipeline/site-a");
  for (const Stage& stage : PlanStages(*settings, anchor, store, "text")) {
    const auto& paths = stage.job.read_paths();
    const bool reads_text =
        std::find(paths.begin(), paths.end(), "/text") != paths.end();
    EXPECT_EQ(reads_text, stage.name == kPrepareText) << stage.name;
  }
}

TEST(PlanTest, EvaluationsNameEveryModel) {
  const auto settings = ResolveSettings(Config(128), Anchor());
  ASSERT_TRUE(settings.ok());
  const AnchorFacts anchor = Anchor();
  const StageStore store("/home/pipeline/site-a");
  const auto stages = PlanStages(*settings, anchor, store, "text");
  const Stage* evaluate = FindStage(stages, kEvaluate);
  ASSERT_NE(evaluate, nullptr);
  const job::EvaluateDomain& own = evaluate->job.tasks(0).evaluate_domain();
  ASSERT_EQ(own.models_size(), 3);
  EXPECT_EQ(own.models(2).label(), "own_unfolded");
  EXPECT_EQ(own.models(2).model().router_paths(0),
            store.Output(kFitRouter, kRouterUnfoldedFile));
  const job::EvaluateDomain& open = evaluate->job.tasks(1).evaluate_domain();
  EXPECT_EQ(open.tokens_path(), "/anchor/public/tokens.safetensors");
  EXPECT_EQ(open.trunk_path(), "");
}

}  // namespace
}  // namespace tributary::contributor
