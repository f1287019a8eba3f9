#include "contributor/budget/training_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contributor/budget/machine_memory.h"

namespace tributary::contributor {
namespace {

using ::testing::HasSubstr;

// 4 layers of width 512, experts of 1376 in all of them, 1024 tokens.
TrainingShape Example() {
  TrainingShape shape = {.hidden = 512,
                         .num_layers = 4,
                         .intermediate = 1376,
                         .vocabulary = 8192,
                         .query_width = 512,
                         .kv_width = 512,
                         .num_heads = 8,
                         .tied_embeddings = true,
                         .widths = {1376, 1376, 1376, 1376},
                         .window_tokens = 512,
                         .windows_at_a_time = 2,
                         .windows_per_step = 2,
                         .train_windows = 16,
                         .heldout_windows = 4};
  return shape;
}

TEST(TrainingMemoryTest, CountsWhatIsThere) {
  const TrainingMemory m = PredictTrainingMemory(Example());
  const int64_t trained = 4 * 3 * 512 * 1376;
  const int64_t frozen = 8192 * 512 + 4 * (4 * 512 * 512 + 3 * 512 * 1376);
  EXPECT_EQ(m.weights, 4 * (frozen + trained));
  EXPECT_EQ(m.optimizer, 8 * trained);
  EXPECT_EQ(m.gradients, 4 * trained);
  EXPECT_EQ(m.logits, 4 * 1024 * 512);
  const int64_t layer = 4 * 512 + 8 + 3 * 512 + 2 * 2 * 1376;
  EXPECT_EQ(m.activations, 4 * 1024 * (4 * layer + 4 * 512));
  EXPECT_GT(m.peak, m.process + m.weights + m.optimizer + m.activations);
  EXPECT_LT(m.peak, m.process + 3 * (m.weights + m.optimizer + m.activations));
  EXPECT_THAT(m.ToString(), HasSubstr("optimizer"));
}

TEST(TrainingMemoryTest, EverySettingThatSavesSaves) {
  const int64_t peak = PredictTrainingMemory(Example()).peak;
  TrainingShape shape = Example();
  shape.recompute_activations = true;
  const int64_t recomputed = PredictTrainingMemory(shape).peak;
  EXPECT_LT(recomputed, peak);
  shape.windows_at_a_time = 1;
  EXPECT_LT(PredictTrainingMemory(shape).peak, recomputed);
  shape = Example();
  shape.widths = {0, 0, 256, 256};
  shape.first_layer = 2;
  EXPECT_LT(PredictTrainingMemory(shape).peak, peak);
  shape = Example();
  shape.distils = true;
  EXPECT_GT(PredictTrainingMemory(shape).peak, peak);
}

TEST(TrainingMemoryTest, RefusesWithTheNumbersAndAWayOut) {
  TrainingShape shape = Example();
  const int64_t peak = PredictTrainingMemory(shape).peak;
  EXPECT_TRUE(CheckFits(shape, peak, "this machine").ok());
  Status status = CheckFits(shape, peak - 1, "the job's memory limit");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  for (const char* part :
       {"training would need", "activations", "the job's memory limit has",
        "what would fit: recompute_activations ("}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
  // Less and less: a shorter window, a narrower expert, nothing at all.
  shape.windows_at_a_time = shape.windows_per_step = 1;
  shape.window_tokens = 4096;
  TrainingShape small = shape;
  small.recompute_activations = true;
  small.frozen_element_bytes = 2;
  status = CheckFits(shape, PredictTrainingMemory(small).peak - 1, "x");
  EXPECT_THAT(std::string(status.message()), HasSubstr("besides, windows of"));
  status = CheckFits(shape, 1, "x");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("use a machine with more memory"));
}

TEST(TrainingMemoryTest, ShapesComeFromConfigs) {
  model_format::ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_layers = 3;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.vocab_size = 100;
  EXPECT_THAT(ShapeOf(config, 1, {32}).widths,
              ::testing::ElementsAre(0, 32, 32));
  EXPECT_THAT(ShapeOf(config, 1, {}).widths, ::testing::ElementsAre(0, 96, 96));
  EXPECT_THAT(ShapeOf(config, 0, {8, 0, 16}).widths,
              ::testing::ElementsAre(8, 0, 16));
  EXPECT_EQ(ShapeOf(config, 0, {}).kv_width, 32);
}

TEST(MachineMemoryTest, KnowsThisProcessAndTheLimit) {
  EXPECT_GT(ResidentBytes(), 1 << 20);
  EXPECT_GE(PeakResidentBytes(), ResidentBytes() / 2);
  EXPECT_GT(MemoryFor(0).bytes, 1 << 20);
  const AvailableMemory limited = MemoryFor(4096);
  EXPECT_EQ(limited.bytes, 4096);
  EXPECT_EQ(limited.name, "the job's memory limit");
}

}  // namespace
}  // namespace tributary::contributor
