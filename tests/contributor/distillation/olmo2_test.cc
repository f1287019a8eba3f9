// A post-norm anchor with QK norm, end to end: calibration, training with rows
// of its own, pruning, distillation, the expert loaded again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/files.h"
#include "common/model/load.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/calibrate.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/distillation/distill.h"
#include "contributor/pruning/prune.h"

namespace tributary::contributor {
namespace {

namespace names = model_format;
using at::Tensor;
using ::testing::HasSubstr;

constexpr int64_t kHidden = 32, kWidth = 96, kLayers = 3, kVocabulary = 97;
constexpr int64_t kFirstLayer = 1;

constexpr char kConfig[] = R"({"model_type": "olmo2", "hidden_size": 32,
  "architectures": ["Olmo2ForCausalLM"], "intermediate_size": 96,
  "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
  "vocab_size": 97, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
  "rope_theta": 10000.0, "tie_word_embeddings": false, "hidden_act": "silu",
  "attention_bias": false})";

class Olmo2Test : public ::testing::Test {
 protected:
  std::filesystem::path Path(const std::string& name) const {
    return folder_.path() / name;
  }

  void SetUp() override {
    WriteModel("anchor", 1);
    WriteTokens();
    auto anchor = model::LoadModel(Path("anchor"));
    ASSERT_TRUE(anchor.ok()) << anchor.status();
    anchor_ = *std::move(anchor);
    const auto calibrated =
        Calibrate(anchor_,
                  {.tokens_path = Path("tokens.safetensors"),
                   .first_layer = kFirstLayer,
                   .trunk_path = Path("trunk.safetensors"),
                   .importance_path = Path("importance.safetensors"),
                   .activations_path = Path("activations.safetensors")},
                  [](double) { return absl::OkStatus(); });
    ASSERT_TRUE(calibrated.ok()) << calibrated.status();
    anchor_loss_ = calibrated->heldout_log_loss;
  }

  void WriteModel(const std::string& directory, uint64_t seed) const {
    at::manual_seed(seed);
    ASSERT_TRUE(MakeDirectories(Path(directory)).ok());
    ASSERT_TRUE(WriteFileAtomic(Path(directory) / "config.json", kConfig).ok());
    NamedTensors tensors;
    const auto matrix = [&](const std::string& name, int64_t rows,
                            int64_t columns) {
      tensors.emplace_back(name, at::randn({rows, columns}) * 0.15);
    };
    const auto norm = [&](const std::string& name, int64_t width) {
      tensors.emplace_back(name, at::rand({width}) + 0.5);
    };
    matrix(std::string(names::kEmbedTokens), kVocabulary, kHidden);
    matrix(std::string(names::kLmHead), kVocabulary, kHidden);
    norm(std::string(names::kFinalNorm), kHidden);
    for (int64_t l = 0; l < kLayers; ++l) {
      matrix(names::QProj(l), kHidden, kHidden);
      matrix(names::KProj(l), kHidden / 2, kHidden);
      matrix(names::VProj(l), kHidden / 2, kHidden);
      matrix(names::OProj(l), kHidden, kHidden);
      norm(names::QNorm(l), kHidden);
      norm(names::KNorm(l), kHidden / 2);
      norm(names::PostAttentionNorm(l), kHidden);
      norm(names::PostFeedforwardNorm(l), kHidden);
      matrix(names::DenseMlp(l, names::MlpPart::kGate), kWidth, kHidden);
      matrix(names::DenseMlp(l, names::MlpPart::kUp), kWidth, kHidden);
      matrix(names::DenseMlp(l, names::MlpPart::kDown), kHidden, kWidth);
    }
    ASSERT_TRUE(
        WriteTensors(Path(directory) / "model.safetensors", tensors).ok());
  }

  // Text with something to learn: every token follows from the one before.
  void WriteTokens() const {
    const auto chain = [](int64_t windows) {
      Tensor ids = at::empty({windows, 48}, at::kInt);
      for (int64_t w = 0; w < windows; ++w) {
        int64_t id = (w * 31 + 7) % kVocabulary;
        for (int64_t s = 0; s < 48; ++s, id = (id * 5 + 3) % kVocabulary) {
          ids[w][s] = id;
        }
      }
      return ids;
    };
    ASSERT_TRUE(WriteTensors(Path("tokens.safetensors"),
                             {{"train", chain(10)}, {"heldout", chain(3)}})
                    .ok());
  }

  TrainerOptions Trainer(const std::string& name) const {
    return {
        .optimizer = {.learning_rate = 1e-2, .epochs = 6},
        .seed = 3,
        .expert_path = Path(name + ".safetensors"),
        .router_path = Path(name + ".router.safetensors"),
        .checkpoint_path = Path(name + ".checkpoint.safetensors"),
        .best_path = Path(name + ".best.safetensors"),
        .loss_path = Path(name + ".loss.jsonl"),
        .report = [](double, const std::string&) { return absl::OkStatus(); }};
  }

  TrainTask Task() const {
    TrainTask task = {
        .initial = {.model_directory = Path("anchor"),
                    .importance_path = Path("importance.safetensors"),
                    .activations_path = Path("activations.safetensors"),
                    .first_layer = kFirstLayer,
                    .widths = {kWidth}},
        .data = {.tokens_path = Path("tokens.safetensors"),
                 .trunk_path = Path("trunk.safetensors"),
                 .first_layer = kFirstLayer},
        .trainer = Trainer("teacher")};
    task.trainer.rows = {.trained = true};
    return task;
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("olmo2");
  model::CausalLm anchor_;
  double anchor_loss_ = 0;
};

TEST_F(Olmo2Test, TrainsPrunesAndDistils) {
  const auto teacher = TrainOnText(anchor_, Task());
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  EXPECT_LT(teacher->heldout_log_loss, anchor_loss_ - 0.5);
  EXPECT_EQ(teacher->frozen_digest_before, teacher->frozen_digest_after);

  const auto pruned =
      PruneToFile({.model_directory = Path("anchor"),
                   .expert_path = Path("teacher.safetensors"),
                   .first_layer = kFirstLayer,
                   .request = {.widths = {32}}},
                  Path("pruned.safetensors"), Path("plan.safetensors"));
  ASSERT_TRUE(pruned.ok()) << pruned.status();

  DistillTask task = {
      .initial = {.model_directory = Path("anchor"),
                  .initial_path = Path("pruned.safetensors"),
                  .router_path = Path("teacher.router.safetensors"),
                  .first_layer = kFirstLayer},
      .teacher_path = Path("teacher.safetensors"),
      .data = Task().data,
      .trainer = Trainer("student"),
      .cache_path = Path("answers.safetensors")};
  const auto student = Distill(anchor_, task);
  ASSERT_TRUE(student.ok()) << student.status();
  EXPECT_LT(student->heldout_log_loss, anchor_loss_ - 0.3);

  // The file's model has the loss that training measured: the model as it is
  // served agrees with the pass that was trained.
  task.trainer = Trainer("again");
  task.trainer.optimizer = {.learning_rate = 1e-30, .epochs = 1};
  task.initial.initial_path = Path("student.safetensors");
  const auto again = Distill(anchor_, task);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->heldout_log_loss, student->heldout_log_loss);
}

TEST_F(Olmo2Test, RefusesTheTeacherOfAnotherAnchor) {
  ASSERT_TRUE(TrainOnText(anchor_, Task()).ok());
  WriteModel("other", 2);
  const auto other = model::LoadModel(Path("other"));
  ASSERT_TRUE(other.ok()) << other.status();
  DistillTask task = {
      .initial = {.model_directory = Path("other"),
                  .initial_path = Path("teacher.safetensors"),
                  .router_path = Path("teacher.router.safetensors"),
                  .first_layer = kFirstLayer},
      .teacher_path = Path("teacher.safetensors"),
      .data = Task().data,
      .trainer = Trainer("student"),
      .cache_path = Path("answers.safetensors")};
  const auto status = Distill(*other, task).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("beside another anchor"));
  EXPECT_FALSE(std::filesystem::exists(task.cache_path));

  // Answers that are given are never replaced.
  task.initial.model_directory = Path("anchor");
  ASSERT_TRUE(Distill(anchor_, task).ok());
  task.cache_is_given = true;
  EXPECT_TRUE(Distill(anchor_, task).ok());
  task.teacher_path = Path("student.safetensors");
  const auto mismatch = Distill(anchor_, task).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(mismatch)) << mismatch;
  EXPECT_THAT(mismatch.message(), HasSubstr("another teacher"));
}

}  // namespace
}  // namespace tributary::contributor
