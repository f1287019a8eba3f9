#include "contributor/distillation/distill.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contributor/calibration/tensor_file.h"
#include "contributor/distillation/teacher_cache.h"
#include "contributor/pruning/prune.h"
#include "tests/contributor/training/tiny_run.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using ::testing::HasSubstr;

class DistillTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto teacher =
        TrainOnText(run_.anchor(), {.initial = run_.Initial(384),
                                    .data = run_.Files(),
                                    .trainer = run_.Trainer("teacher")});
    ASSERT_TRUE(teacher.ok()) << teacher.status();
    teacher_loss_ = teacher->heldout_log_loss;
    const auto pruned = PruneToFile(
        {.model_directory = TinyRun::AnchorDirectory(),
         .expert_path = run_.Path("teacher.safetensors"),
         .first_layer = TinyRun::kFirstLayer,
         .request = {.widths = {128}}},
        run_.Path("pruned.safetensors"), run_.Path("plan.safetensors"));
    ASSERT_TRUE(pruned.ok()) << pruned.status();
  }

  DistillTask Task() const {
    DistillTask task = {.initial = run_.Initial(0),
                        .teacher_path = run_.Path("teacher.safetensors"),
                        .data = run_.Files(),
                        .trainer = run_.Trainer("student"),
                        .cache_path = run_.Path("student.teacher.safetensors")};
    task.initial.widths.clear();
    task.initial.importance_path.clear();
    task.initial.initial_path = run_.Path("pruned.safetensors");
    return task;
  }

  model::CausalLm Teacher() const {
    model::CausalLm lm = run_.anchor();
    lm.top_k = 2;
    auto expert = model::LoadExpert(lm.config, run_.Path("teacher.safetensors"),
                                    run_.Path("router.safetensors"));
    EXPECT_TRUE(expert.ok()) << expert.status();
    EXPECT_TRUE(model::AttachExpert(lm, *std::move(expert)).ok());
    return lm;
  }

  TinyRun run_;
  double teacher_loss_ = 0;
};

TEST_F(DistillTest, StudentFollowsTheTeacher) {
  const auto outcome = Distill(run_.anchor(), Task());
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->steps, 16);
  EXPECT_LT(outcome->last_loss, outcome->first_loss);
  EXPECT_LT(outcome->heldout_log_loss, run_.anchor_loss() - 0.1);
  EXPECT_EQ(outcome->frozen_digest_before, outcome->frozen_digest_after);
  const auto first = *ReadFile(run_.Path("student.safetensors"));

  // Again with the teacher's answers that are there: the same student.
  const auto written = fs::last_write_time(Task().cache_path);
  ASSERT_TRUE(Distill(run_.anchor(), Task()).ok());
  EXPECT_EQ(fs::last_write_time(Task().cache_path), written);
  EXPECT_EQ(first, *ReadFile(run_.Path("student.safetensors")));

  DistillTask other = Task();
  other.distillation = {.form = DistillationForm::kRenormalised,
                        .text_share = 0};
  const auto renormalised = Distill(run_.anchor(), other);
  ASSERT_TRUE(renormalised.ok()) << renormalised.status();
  EXPECT_LT(renormalised->heldout_log_loss, run_.anchor_loss());
  EXPECT_NE(first, *ReadFile(run_.Path("student.safetensors")));
}

TEST_F(DistillTest, InterruptedAndResumedEqualsUninterrupted) {
  ASSERT_TRUE(Distill(run_.anchor(), Task()).ok());
  const auto whole = *ReadFile(run_.Path("student.safetensors"));
  fs::remove(run_.Path("student.safetensors"));
  DistillTask task = Task();
  task.trainer.report = [](double fraction, const std::string&) -> Status {
    return fraction > 0.6 ? absl::CancelledError("interrupted")
                          : absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(Distill(run_.anchor(), task).status()));
  const auto outcome = Distill(run_.anchor(), Task());
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->resumed);
  EXPECT_EQ(whole, *ReadFile(run_.Path("student.safetensors")));
}

TEST_F(DistillTest, CacheHoldsTheTeachersProbabilities) {
  const model::CausalLm teacher = Teacher();
  const auto data = LoadTrunkWindows(run_.Files(), "train", teacher);
  const fs::path path = run_.Path("cache.safetensors");
  const auto go_on = [](double) { return absl::OkStatus(); };
  const auto cache = TeacherCache::Make(teacher, *data, path, "one", go_on);
  ASSERT_TRUE(cache.ok()) << cache.status();
  EXPECT_FALSE(cache->reused());
  const int64_t positions = data->windows() * (data->length() - 1);
  EXPECT_LE(*FileSize(path), static_cast<uint64_t>(positions * 768));

  const at::NoGradGuard no_grad;
  const std::vector<int64_t> windows = {5, 2};
  const TeacherTargets targets = cache->Take(windows);
  const WindowBatch batch = TakeBatch(*data, windows, at::kCPU);
  const Tensor log_p = at::log_softmax(
      model::Logits(teacher, HiddenOfBatch(teacher, 2, batch)), -1);
  ASSERT_EQ(targets.ids_TJ.size(1), kTeacherTokens);
  const Tensor wanted = log_p.gather(1, targets.ids_TJ);
  EXPECT_LT((targets.log_q_TJ - wanted).abs().max().item<double>(), 1e-2);
  const auto [values, ids] = at::topk(log_p, kTeacherTokens, 1);
  EXPECT_TRUE(at::equal(targets.ids_TJ, ids));
  const Tensor total = targets.log_q_TJ.exp().sum(1) + targets.log_tail_T.exp();
  EXPECT_LT((total - 1).abs().max().item<double>(), 1e-5);
  const Tensor tail = log_p.exp().scatter(1, ids, 0).sum(1);
  EXPECT_LT((targets.log_tail_T.exp() - tail).abs().max().item<double>(), 1e-5);

  EXPECT_TRUE(TeacherCache::Make(teacher, *data, path, "one", go_on)->reused());
  EXPECT_FALSE(
      TeacherCache::Make(teacher, *data, path, "two", go_on)->reused());
}

// Ids above 32,767 and above 65,535 come back.
TEST_F(DistillTest, CacheHoldsIdsOfLargeVocabularies) {
  model::CausalLm teacher = Teacher();
  at::manual_seed(8);
  const auto data = LoadTrunkWindows(run_.Files(), "train", teacher);
  TrunkWindows two = *data;
  two.ids_BS = data->ids_BS.slice(0, 0, 2);
  two.trunk_BSD = data->trunk_BSD.slice(0, 0, 2);
  for (const int64_t vocabulary : {60000, 150000}) {
    teacher.head_VD = at::randn({vocabulary, 128});
    const fs::path path = run_.Path("large.safetensors");
    const auto cache =
        TeacherCache::Make(teacher, two, path, std::to_string(vocabulary),
                           [](double) { return absl::OkStatus(); });
    ASSERT_TRUE(cache.ok()) << cache.status();
    EXPECT_LE(*FileSize(path), 2u * 63 * 768);
    const at::NoGradGuard no_grad;
    const Tensor logits = model::Logits(
        teacher, HiddenOfBatch(teacher, 2, TakeBatch(two, {0, 1}, at::kCPU)));
    const auto [values, ids] = at::topk(logits, kTeacherTokens, 1);
    const TeacherTargets targets = cache->Take({0, 1});
    // Equal logits may change places.
    EXPECT_TRUE(at::allclose(logits.gather(1, targets.ids_TJ), values));
    EXPECT_GT(targets.ids_TJ.max().item<int64_t>(), vocabulary - 5000);
  }
}

TEST_F(DistillTest, RefusesUnsuitableInput) {
  DistillTask task = Task();
  task.distillation.text_share = 1.5;
  EXPECT_THAT(Distill(run_.anchor(), task).status().message(),
              HasSubstr("text_share: got 1.5"));
  task = Task();
  task.teacher_path = run_.Path("nowhere.safetensors");
  EXPECT_TRUE(absl::IsNotFound(Distill(run_.anchor(), task).status()));
}

}  // namespace
}  // namespace tributary::contributor
