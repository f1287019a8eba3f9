#include "contributor/training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "contributor/calibration/tensor_file.h"
#include "tests/contributor/training/tiny_run.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::vector<nlohmann::json> Lines(const fs::path& path) {
  std::vector<nlohmann::json> lines;
  std::stringstream text(*ReadFile(path));
  for (std::string line; std::getline(text, line);) {
    lines.push_back(nlohmann::json::parse(line));
  }
  return lines;
}

class TrainerTest : public ::testing::Test {
 protected:
  StatusOr<TrainingOutcome> Train(int64_t width,
                                  const TrainerOptions& options) {
    return TrainOnText(run_.anchor(), {.initial = run_.Initial(width),
                                       .data = run_.Files(),
                                       .trainer = options});
  }

  TinyRun run_;
};

TEST_F(TrainerTest, LowersTheLossAndLeavesTheAnchorAlone) {
  const auto outcome = Train(256, run_.Trainer("expert"));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->steps, 16);
  EXPECT_EQ(outcome->tokens, 2 * 8 * 63);
  EXPECT_FALSE(outcome->resumed);
  EXPECT_LT(outcome->last_loss, outcome->first_loss - 0.2);
  EXPECT_LT(outcome->heldout_log_loss, run_.anchor_loss() - 0.1);
  EXPECT_EQ(outcome->frozen_digest_before.size(), 64u);
  EXPECT_EQ(outcome->frozen_digest_before, outcome->frozen_digest_after);
  EXPECT_EQ(outcome->frozen_digest_before, *model::DigestFrozen(run_.anchor()));
  EXPECT_FALSE(fs::exists(run_.Path("expert.checkpoint.safetensors")));
  const auto lines = Lines(run_.Path("expert.loss.jsonl"));
  ASSERT_EQ(lines.size(), 16u);
  EXPECT_EQ(lines[15]["step"], 16);
  EXPECT_EQ(lines[15]["epoch"], 1);
  EXPECT_EQ(lines[0]["loss"], outcome->first_loss);
  const auto expert =
      model::LoadExpert(run_.anchor().config, run_.Path("expert.safetensors"),
                        run_.Path("router.safetensors"));
  ASSERT_TRUE(expert.ok()) << expert.status();
  EXPECT_EQ(expert->widths(), (std::vector<int64_t>{0, 0, 256, 256}));
}

TEST_F(TrainerTest, InterruptedAndResumedEqualsUninterrupted) {
  ASSERT_TRUE(Train(128, run_.Trainer("whole")).ok());
  struct Stop {};
  // Asked to stop: goes on from that very step. Dead at once: from the last
  // checkpoint, after one that was only half written.
  for (const bool asked : {true, false}) {
    TrainerOptions options = run_.Trainer("parts");
    int calls = 0;
    options.report = [&](double, const std::string&) -> Status {
      if (++calls < 5) {
        return absl::OkStatus();
      }
      if (!asked) {
        throw Stop();
      }
      return absl::CancelledError("interrupted");
    };
    if (asked) {
      EXPECT_TRUE(absl::IsCancelled(Train(128, options).status()));
    } else {
      EXPECT_THROW((void)Train(128, options), Stop);
    }
    EXPECT_FALSE(fs::exists(run_.Path("parts.safetensors")));
    EXPECT_TRUE(fs::exists(run_.Path("parts.checkpoint.safetensors")));
    EXPECT_EQ(Lines(run_.Path("parts.loss.jsonl")).size(), 5u);
    calls = -100;
    const auto outcome = Train(128, options);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_TRUE(outcome->resumed);
    EXPECT_EQ(*ReadFile(run_.Path("whole.safetensors")),
              *ReadFile(run_.Path("parts.safetensors")));
    const auto whole = Lines(run_.Path("whole.loss.jsonl"));
    const auto parts = Lines(run_.Path("parts.loss.jsonl"));
    ASSERT_EQ(whole.size(), parts.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(whole[i]["step"], parts[i]["step"]);
      EXPECT_EQ(whole[i]["loss"], parts[i]["loss"]);
      EXPECT_EQ(whole[i]["gradient_norm"], parts[i]["gradient_norm"]);
    }
    fs::remove(run_.Path("parts.safetensors"));
  }
}

TEST_F(TrainerTest, RefusesTheCheckpointOfAnotherRun) {
  TrainerOptions options = run_.Trainer("expert");
  options.report = [](double fraction, const std::string&) -> Status {
    return fraction > 0.3 ? absl::CancelledError("interrupted")
                          : absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(Train(128, options).status()));
  options = run_.Trainer("expert");
  options.optimizer.learning_rate = 2e-3;
  auto status = Train(128, options).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("other settings or data"));
  const auto checkpoint = run_.Path("expert.checkpoint.safetensors");
  const std::string whole = *ReadFile(checkpoint);
  ASSERT_TRUE(
      WriteFileAtomic(checkpoint, whole.substr(0, whole.size() / 2)).ok());
  EXPECT_TRUE(
      absl::IsInvalidArgument(Train(128, run_.Trainer("expert")).status()));
  fs::remove(checkpoint);
  EXPECT_FALSE(Train(128, run_.Trainer("expert"))->resumed);
}

TEST_F(TrainerTest, StopsWhenTheLossIsNotFinite) {
  TrainerOptions options = run_.Trainer("expert");
  const auto trunk = ReadAll(run_.Path("trunk.safetensors"));
  // A window of the second half of the epoch is spoilt.
  at::Tensor spoilt = trunk.at("train");
  spoilt[EpochOrder(42, 0, 8)[4]][7][3] = std::nan("");
  ASSERT_TRUE(
      WriteTensors(run_.Path("trunk.safetensors"),
                   {{"train", spoilt}, {"heldout", trunk.at("heldout")}},
                   {{"first_layer", "2"}})
          .ok());
  const auto status = Train(128, options).status();
  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("diverged in step 5: loss nan"));
  EXPECT_THAT(status.message(), HasSubstr("of step 4"));
  EXPECT_THAT(status.message(),
              HasSubstr(fmt::format("training window {} are not finite",
                                    EpochOrder(42, 0, 8)[4])));
  EXPECT_TRUE(fs::exists(options.checkpoint_path));
}

TEST_F(TrainerTest, NamesTheLearningRateWhenTheLossRoseBefore) {
  TrainerOptions options = run_.Trainer("expert");
  options.optimizer.learning_rate = 1e19;
  options.optimizer.clip_norm = 0;
  const auto status = Train(128, options).status();
  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("training diverged in step"));
  EXPECT_THAT(status.message(), HasSubstr("lower the learning rate"));
}

TEST_F(TrainerTest, SeveralWindowsAStepAndAShortLastStep) {
  TrainerOptions options = run_.Trainer("expert");
  options.optimizer.windows_per_step = 3;
  const auto outcome = Train(128, options);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->steps, 6);
  const auto lines = Lines(options.loss_path);
  EXPECT_EQ(lines[0]["tokens"], 3 * 63);
  EXPECT_EQ(lines[2]["tokens"], 2 * 63);
}

TEST_F(TrainerTest, StartsFromAnExpert) {
  ASSERT_TRUE(Train(256, run_.Trainer("first")).ok());
  TrainTask task = {.initial = run_.Initial(0),
                    .data = run_.Files(),
                    .trainer = run_.Trainer("second")};
  task.initial.widths.clear();
  EXPECT_THAT(TrainOnText(run_.anchor(), task).status().message(),
              HasSubstr("widths: got none"));
  task.initial.initial_path = run_.Path("first.safetensors");
  const auto outcome = TrainOnText(run_.anchor(), task);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_LT(outcome->first_loss,
            Lines(run_.Path("first.loss.jsonl"))[0]["loss"].get<double>());
}

TEST_F(TrainerTest, RefusesUnsuitableFiles) {
  TrainTask task = {.initial = run_.Initial(128),
                    .data = run_.Files(),
                    .trainer = run_.Trainer("expert")};
  task.data.first_layer = 3;
  EXPECT_THAT(TrainOnText(run_.anchor(), task).status().message(),
              HasSubstr("in front of layer 2, wanted those of 3"));
  task.data = run_.Files();
  task.initial.router_path = run_.Path("importance.safetensors");
  EXPECT_TRUE(absl::IsNotFound(TrainOnText(run_.anchor(), task).status()));
  task.initial = run_.Initial(100);
  EXPECT_THAT(TrainOnText(run_.anchor(), task).status().message(),
              HasSubstr("128"));
}

}  // namespace
}  // namespace tributary::contributor
