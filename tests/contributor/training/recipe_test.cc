// Recipes of training on the small anchor: accumulation, held-out measurements
// and early stopping, packed documents, trained rows, nested widths.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "contributor/calibration/tensor_file.h"
#include "contributor/training/history.h"
#include "contributor/training/run_fingerprint.h"
#include "tests/contributor/training/tiny_run.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using ::testing::HasSubstr;

class RecipeTest : public ::testing::Test {
 protected:
  StatusOr<TrainingOutcome> Train(int64_t width,
                                  const TrainerOptions& options) {
    return TrainOnText(run_.anchor(), {.initial = run_.Initial(width),
                                       .data = run_.Files(),
                                       .trainer = options});
  }

  TrainingOutcome MustTrain(int64_t width, const TrainerOptions& options) {
    auto outcome = Train(width, options);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.value_or(TrainingOutcome());
  }

  // Relative distance of two expert files.
  double Distance(const std::string& a, const std::string& b) {
    const auto first = ReadAll(run_.Path(a));
    const auto second = ReadAll(run_.Path(b));
    EXPECT_EQ(first.size(), second.size());
    double worst = 0;
    for (const auto& [name, tensor] : first) {
      worst = std::max(
          worst,
          ((tensor - second.at(name)).norm() / tensor.norm()).item<double>());
    }
    return worst;
  }

  TinyRun run_;
};

TEST_F(RecipeTest, MicroBatchesAddUpToTheWholeBatch) {
  TrainerOptions whole = run_.Trainer("whole");
  whole.optimizer.windows_per_step = 5;  // the last step has 3
  TrainerOptions parts = run_.Trainer("parts");
  parts.optimizer.windows_per_step = 5;
  parts.optimizer.micro_batch_windows = 2;
  const auto a = MustTrain(128, whole);
  const auto b = MustTrain(128, parts);
  EXPECT_EQ(a.steps, 4);
  EXPECT_EQ(b.steps, 4);
  EXPECT_NEAR(a.first_loss, b.first_loss, 1e-5);
  EXPECT_NEAR(a.heldout_log_loss, b.heldout_log_loss, 1e-4);
  // Adam divides by the gradients' size: where they are rounding errors, so is
  // the step; all but a few weights agree much better.
  EXPECT_LT(Distance("whole.safetensors", "parts.safetensors"), 1e-4);
}

TEST_F(RecipeTest, RecomputationTrainsTheSameExpert) {
  TrainerOptions kept = run_.Trainer("kept");
  TrainerOptions again = run_.Trainer("again");
  again.recompute_activations = true;
  MustTrain(256, kept);
  MustTrain(256, again);
  EXPECT_EQ(*ReadFile(run_.Path("kept.safetensors")),
            *ReadFile(run_.Path("again.safetensors")));
}

TEST_F(RecipeTest, FrozenWeightsInBfloat16TrainAsWell) {
  const auto anchor =
      model::LoadModel(TinyRun::AnchorDirectory(), {.dtype = at::kBFloat16});
  ASSERT_TRUE(anchor.ok()) << anchor.status();
  const auto narrow = TrainOnText(*anchor, {.initial = run_.Initial(128),
                                            .data = run_.Files(),
                                            .trainer = run_.Trainer("bf16")});
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  const auto wide = MustTrain(128, run_.Trainer("fp32"));
  // The fixture is stored in bf16: the same values, the same products.
  EXPECT_NEAR(narrow->heldout_log_loss, wide.heldout_log_loss, 1e-4);
  EXPECT_LT(Distance("bf16.safetensors", "fp32.safetensors"), 1e-4);
}

TEST_F(RecipeTest, MeasuresHeldOutTextAndDrawsTheCurve) {
  TrainerOptions options = run_.Trainer("expert");
  options.optimizer.validation_steps = 4;
  options.optimizer.schedule = Schedule::kLinear;
  const auto outcome = MustTrain(128, options);
  EXPECT_EQ(outcome.best_step, 16);  // no patience: the last weights
  EXPECT_FALSE(outcome.stopped_early);
  std::vector<int64_t> measured;
  std::stringstream text(*ReadFile(options.loss_path));
  double last = 0;
  for (std::string line; std::getline(text, line);) {
    const auto value = nlohmann::json::parse(line);
    if (value.contains("heldout_log_loss")) {
      measured.push_back(value["step"]);
      last = value["heldout_log_loss"];
    }
  }
  EXPECT_THAT(measured, ::testing::ElementsAre(0, 4, 8, 12, 16));
  EXPECT_EQ(last, outcome.heldout_log_loss);
  const std::string svg = *ReadFile(options.curve_path);
  EXPECT_THAT(svg, HasSubstr(">held-out<"));
  EXPECT_THAT(svg, HasSubstr(">training<"));
}

TEST_F(RecipeTest, StopsEarlyAndKeepsTheBestWeights) {
  // A few windows over and over with large steps: overfits soon.
  TrainerOptions options = run_.Trainer("early");
  options.optimizer.learning_rate = 1e-2;
  options.optimizer.schedule = Schedule::kConstant;
  options.optimizer.epochs = 30;
  options.optimizer.validation_steps = 2;
  options.optimizer.patience = 3;
  const auto outcome = MustTrain(256, options);
  ASSERT_TRUE(outcome.stopped_early);
  EXPECT_LT(outcome.steps, 240);
  EXPECT_EQ(outcome.steps, outcome.best_step + 2 * 3);
  EXPECT_FALSE(fs::exists(options.best_path));
  EXPECT_FALSE(fs::exists(options.checkpoint_path));

  // A run that ends at the best step has the same weights and loss.
  TrainerOptions until = run_.Trainer("until");
  until.optimizer = options.optimizer;
  int calls = 0;
  until.report = [&](double, const std::string&) -> Status {
    return ++calls >= outcome.best_step ? absl::CancelledError("far enough")
                                        : absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(Train(256, until).status()));
  const auto best = ReadAll(until.checkpoint_path);
  for (const auto& [name, tensor] : ReadAll(options.expert_path)) {
    EXPECT_TRUE(at::equal(tensor, best.at(name))) << name;
  }
  // Interrupted at any step, it stops at the same one with the same weights.
  for (const int64_t step : {outcome.best_step, outcome.best_step + 3}) {
    TrainerOptions parts = run_.Trainer("parts");
    parts.optimizer = options.optimizer;
    calls = 0;
    parts.report = [&](double, const std::string&) -> Status {
      return ++calls == step ? absl::CancelledError("interrupted")
                             : absl::OkStatus();
    };
    EXPECT_TRUE(absl::IsCancelled(Train(256, parts).status()));
    const auto resumed = MustTrain(256, parts);
    EXPECT_TRUE(resumed.resumed);
    EXPECT_EQ(resumed.best_step, outcome.best_step);
    EXPECT_EQ(resumed.steps, outcome.steps);
    EXPECT_EQ(*ReadFile(parts.expert_path), *ReadFile(options.expert_path));
  }
}

TEST_F(RecipeTest, PatienceNeedsMeasurements) {
  TrainerOptions options = run_.Trainer("expert");
  options.optimizer.patience = 2;
  EXPECT_THAT(Train(128, options).status().message(),
              HasSubstr("validation_steps: got 0"));
}

// Packed windows: the documents' losses are those of windows of their own.
TEST_F(RecipeTest, DocumentsOfAPackedWindowDoNotSeeEachOther) {
  const auto data = LoadTrunkWindows(run_.Files(), "train", run_.anchor());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_FALSE(data->documents_BS.defined());
  constexpr int64_t kCut = 24;
  TrunkWindows packed = *data;
  packed.documents_BS = at::zeros_like(packed.ids_BS);
  packed.documents_BS.slice(1, kCut).fill_(1);
  EXPECT_EQ(packed.targets(), 8 * 62);
  // The trunk is causal: its first part is as of a shorter window. The second
  // part's layers see the same states with and without what is before them.
  const at::NoGradGuard no_grad;
  const auto& lm = run_.anchor();
  const Tensor together =
      HiddenOfBatch(lm, 2, TakeBatch(packed, {5, 2}, at::kCPU))
          .view({2, 62, -1});
  for (const auto& [begin, length, first] :
       {std::tuple{0, kCut, 0}, {kCut, 64 - kCut, kCut - 1}}) {
    TrunkWindows part = *data;
    part.ids_BS = data->ids_BS.narrow(1, begin, length);
    part.trunk_BSD = data->trunk_BSD.narrow(1, begin, length);
    const Tensor alone = HiddenOfBatch(lm, 2, TakeBatch(part, {5, 2}, at::kCPU))
                             .view({2, length - 1, -1});
    EXPECT_LT((together.narrow(1, first, length - 1) - alone)
                  .abs()
                  .max()
                  .item<double>(),
              2e-4)
        << begin;
  }
}

TEST_F(RecipeTest, TrainsOnPackedWindows) {
  const auto file = OpenTensorFile(run_.Path("tokens.safetensors"));
  const Tensor train = *MapTensor(*file, "train");
  const Tensor heldout = *MapTensor(*file, "heldout");
  Tensor documents = at::zeros_like(train);
  documents.slice(1, 20).fill_(1);
  documents.slice(1, 50).fill_(2);
  const auto write = [&](const Tensor& numbers) {
    EXPECT_TRUE(WriteTensors(run_.Path("packed.safetensors"),
                             {{"train", train.clone()},
                              {"heldout", heldout.clone()},
                              {"train_documents", numbers},
                              {"heldout_documents", numbers.slice(0, 0, 4)}})
                    .ok());
  };
  TrainTask task = {.initial = run_.Initial(128),
                    .data = run_.Files(),
                    .trainer = run_.Trainer("packed")};
  task.trainer.optimizer.windows_per_step = 2;
  task.data.tokens_path = run_.Path("packed.safetensors");
  write(documents);
  const auto outcome = TrainOnText(run_.anchor(), task);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->tokens, 2 * 8 * 61);
  EXPECT_LT(outcome->last_loss, outcome->first_loss - 0.1);
  write(documents.flip({1}));
  EXPECT_THAT(TrainOnText(run_.anchor(), task).status().message(),
              HasSubstr("must ascend"));
  write(at::arange(64, at::kInt).repeat({8, 1}));
  EXPECT_THAT(TrainOnText(run_.anchor(), task).status().message(),
              HasSubstr("one token each"));
}

TEST_F(RecipeTest, TrainedRowsStartFromMeansAndLeaveThePublicRowAlone) {
  TrainTask task = {.initial = run_.Initial(128),
                    .data = run_.Files(),
                    .trainer = run_.Trainer("rows")};
  task.trainer.rows = {.trained = true, .bias = true, .z_loss = 1e-3};
  EXPECT_THAT(TrainOnText(run_.anchor(), task).status().message(),
              HasSubstr("start from activations"));
  task.initial.router_path.clear();
  task.initial.activations_path = run_.Path("activations.safetensors");
  const auto start = MakeInitialExpert(run_.anchor(), task.initial);
  ASSERT_TRUE(start.ok()) << start.status();
  const auto activations = ReadAll(run_.Path("activations.safetensors"));
  const Tensor mean = activations.at("layers.3.x").mean(0);
  EXPECT_TRUE(at::allclose(start->router_D[3], mean / mean.norm(), 1e-4, 1e-6));
  EXPECT_EQ(start->router_D[1].abs().max().item<double>(), 0);

  const auto outcome = TrainOnText(run_.anchor(), task);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_LT(outcome->heldout_log_loss, run_.anchor_loss() - 0.1);
  const auto rows = ReadAll(task.trainer.router_path);
  EXPECT_EQ(rows.size(), 8u);
  for (const int l : {2, 3}) {
    const auto name = fmt::format("layers.{}.router.", l);
    EXPECT_GT((rows.at(name + "weight") - start->router_D[l])
                  .abs()
                  .max()
                  .item<double>(),
              1e-3);
    EXPECT_LE(rows.at(name + "bias").item<double>(), 0);
  }
  // The model of the file has the loss that training reported.
  model::CausalLm lm = run_.anchor();
  auto expert = model::LoadExpert(lm.config, task.trainer.expert_path,
                                  task.trainer.router_path);
  ASSERT_TRUE(expert.ok()) << expert.status();
  ASSERT_TRUE(model::AttachExpert(lm, *std::move(expert)).ok());
  EXPECT_EQ(lm.layers[3].router_ED[0].abs().max().item<double>(), 0);
  const auto again = TrainOnText(run_.anchor(), task);
  EXPECT_EQ(again->heldout_log_loss, outcome->heldout_log_loss);
}

TEST_F(RecipeTest, PrefixesOfANestedExpertLoseLess) {
  TrainerOptions plain = run_.Trainer("plain");
  plain.optimizer.epochs = 6;
  TrainerOptions nested = run_.Trainer("nested");
  nested.optimizer.epochs = 6;
  nested.optimizer.nested_widths = {128, 256, 384};
  MustTrain(384, plain);
  const auto outcome = MustTrain(384, nested);
  ASSERT_EQ(outcome.prefixes.size(), 3u);
  EXPECT_EQ(outcome.prefixes[2].log_loss, outcome.heldout_log_loss);
  // The plain expert's prefix, measured the same way.
  TrainerOptions measure = run_.Trainer("measure");
  measure.optimizer.learning_rate = 1e-30;
  measure.optimizer.epochs = 1;
  measure.optimizer.nested_widths = {128};
  TrainTask task = {
      .initial = run_.Initial(384), .data = run_.Files(), .trainer = measure};
  task.initial.initial_path = plain.expert_path;
  const auto prefix = TrainOnText(run_.anchor(), task);
  ASSERT_TRUE(prefix.ok()) << prefix.status();
  EXPECT_LT(outcome.prefixes[0].log_loss, prefix->prefixes[0].log_loss - 0.01);
  EXPECT_LT(outcome.prefixes[0].log_loss, run_.anchor_loss() - 0.1);

  nested.optimizer.nested_widths = {100};
  EXPECT_THAT(Train(384, nested).status().message(),
              HasSubstr("nested_widths: got 100, wanted multiples of 128"));
}

TEST_F(RecipeTest, NestedWidthsResumeBitForBit) {
  TrainerOptions options = run_.Trainer("whole");
  options.optimizer.nested_widths = {128, 256};
  MustTrain(256, options);
  TrainerOptions parts = run_.Trainer("parts");
  parts.optimizer.nested_widths = {128, 256};
  int calls = 0;
  parts.report = [&](double, const std::string&) -> Status {
    return ++calls == 7 ? absl::CancelledError("interrupted")
                        : absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(Train(256, parts).status()));
  EXPECT_TRUE(MustTrain(256, parts).resumed);
  EXPECT_EQ(*ReadFile(options.expert_path), *ReadFile(parts.expert_path));
}

TEST(HistoryTest, FindsTheBestMeasurement) {
  TrainingHistory history;
  EXPECT_EQ(FindBest(history, 0).step, -1);
  history.validations = {{0, 4}, {2, 3}, {4, 3.1}, {6, 2.95}, {8, 3}};
  EXPECT_EQ(FindBest(history, 0).step, 6);
  EXPECT_EQ(FindBest(history, 0).since, 1);
  EXPECT_EQ(FindBest(history, 0.1).step, 2);
  EXPECT_EQ(FindBest(history, 0.1).since, 3);
  history.losses.resize(20);
  std::iota(history.losses.begin(), history.losses.end(), 0);
  EXPECT_DOUBLE_EQ(history.MeanLoss(false), 0.5);
  EXPECT_DOUBLE_EQ(history.MeanLoss(true), 18.5);
}

TEST(NestedWidthTest, IsAFunctionOfSeedAndStep) {
  OptimizerOptions options;
  EXPECT_EQ(NestedWidth(options, 1, 5), 0);
  options.nested_widths = {128, 256, 384};
  std::map<int64_t, int> counts;
  for (int step = 0; step < 300; ++step) {
    ++counts[NestedWidth(options, 1, step)];
    EXPECT_EQ(NestedWidth(options, 1, step), NestedWidth(options, 1, step));
  }
  for (const auto& [width, count] : counts) {
    EXPECT_NEAR(count, 100, 30) << width;
  }
}

TEST(ScheduleShapeTest, ConstantAndLinear) {
  OptimizerOptions options = {.learning_rate = 2,
                              .schedule = Schedule::kConstant,
                              .warmup_steps = 4,
                              .final_fraction = 0.1};
  EXPECT_DOUBLE_EQ(LearningRate(options, 1, 64), 1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 60, 64), 2);
  options.schedule = Schedule::kLinear;
  EXPECT_DOUBLE_EQ(LearningRate(options, 4, 64), 2);
  EXPECT_NEAR(LearningRate(options, 34, 64), 1.1, 1e-12);
  EXPECT_NEAR(LearningRate(options, 64, 64), 0.2, 1e-12);
}

}  // namespace
}  // namespace tributary::contributor
