// The contributor's tasks in the order of the pipeline, on the small anchor.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/files.h"
#include "common/model/load.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/worker/tasks.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";
const std::string kAnchor = kFixtures / "tiny_anchor";
constexpr int kFirstLayer = 1;
constexpr int kWindow = 96;

class WorkerTasksTest : public ::testing::Test {
 protected:
  WorkerTasksTest() {
    AddStatisticsTasks(registry_);
    AddExpertTasks(registry_);
    AddPruningTasks(registry_);
  }

  std::string Folder(const std::string& name) {
    const fs::path folder = folder_.path() / name;
    EXPECT_TRUE(MakeDirectories(folder).ok());
    return folder;
  }

  StatusOr<job::TaskResult> Run(const std::string& folder,
                                const job::Task& task) {
    job::Job job;
    job.set_output_directory(Folder(folder));
    job.set_seed(7);
    job.set_memory_limit_bytes(memory_limit_bytes_);
    const worker::TaskContext context(job, 2, cancellation_, shared_,
                                      [](double, std::string_view) {});
    job::TaskResult result;
    RETURN_IF_ERROR(registry_.at(task.kind_case())(task, context, &result));
    return result;
  }

  job::TaskResult MustRun(const std::string& folder, const job::Task& task) {
    const auto result = Run(folder, task);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(job::TaskResult());
  }

  job::Task PrepareTask(const std::string& train, const std::string& heldout) {
    job::Task task;
    auto* prepare = task.mutable_prepare_text();
    prepare->set_model_directory(kAnchor);
    prepare->add_train_paths(kFixtures / "text" / (train + ".jsonl"));
    prepare->add_heldout_paths(kFixtures / "text" / (heldout + ".jsonl"));
    prepare->set_window_tokens(kWindow);
    prepare->set_max_windows_per_document(1);
    prepare->set_max_train_windows(12);
    prepare->set_max_heldout_windows(6);
    return task;
  }

  job::Task CalibrateTask(const std::string& tokens) {
    job::Task task;
    auto* calibrate = task.mutable_calibrate();
    calibrate->set_model_directory(kAnchor);
    calibrate->set_tokens_path(tokens);
    calibrate->set_first_layer(kFirstLayer);
    calibrate->set_sample_stride(2);
    calibrate->set_write_trunk(true);
    return task;
  }

  // What a coordinator publishes with the anchor.
  std::string PublicStatistics() {
    NamedTensors tensors;
    for (const auto& [name, file] : {std::pair{"prose", "public_prose"},
                                     {"dictionary", "background_dictionary"},
                                     {"python", "background_python"},
                                     {"tables", "background_tables"}}) {
      const std::string folder = std::string("public_") + name;
      const auto prepared =
          MustRun(folder, PrepareTask(file, "public_heldout"));
      const auto calibrated =
          MustRun(folder, CalibrateTask(prepared.prepare_text().tokens_path()));
      const auto samples =
          OpenTensorFile(calibrated.calibrate().activations_path());
      EXPECT_TRUE(samples.ok()) << samples.status();
      for (int l = kFirstLayer; l < 4; ++l) {
        tensors.emplace_back(
            fmt::format("layers.{}.{}", l, name),
            *MapTensor(*samples, fmt::format("layers.{}.x", l)));
      }
    }
    const std::string path = Folder("public") + "/statistics.safetensors";
    EXPECT_TRUE(WriteTensors(path, tensors).ok());
    return path;
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("worker");
  worker::TaskRegistry registry_;
  CancellationToken cancellation_;
  uint64_t memory_limit_bytes_ = 0;
  std::any shared_;
};

TEST_F(WorkerTasksTest, EveryDomainImproves) {
  const std::string statistics = PublicStatistics();
  for (const std::string domain : {"domain_a", "domain_b", "domain_c"}) {
    SCOPED_TRACE(domain);
    const auto prepared =
        MustRun(domain, PrepareTask(domain, domain + "_heldout"))
            .prepare_text();
    EXPECT_EQ(prepared.train_documents(), 12);
    EXPECT_EQ(prepared.heldout_documents(), 6);
    const auto calibrated =
        MustRun(domain, CalibrateTask(prepared.tokens_path())).calibrate();
    EXPECT_EQ(calibrated.tokens(), 12 * kWindow);

    job::Task fit;
    fit.mutable_fit_router()->set_model_directory(kAnchor);
    fit.mutable_fit_router()->set_activations_path(
        calibrated.activations_path());
    fit.mutable_fit_router()->set_public_statistics_path(statistics);
    fit.mutable_fit_router()->set_first_layer(kFirstLayer);
    const auto rows = MustRun(domain, fit).fit_router();
    ASSERT_EQ(rows.layers_size(), 3);
    EXPECT_GT(rows.layers(2).own_share(), rows.layers(2).prose_share());

    job::Task train;
    auto* t = train.mutable_train();
    t->set_model_directory(kAnchor);
    t->set_tokens_path(prepared.tokens_path());
    t->set_trunk_path(calibrated.trunk_path());
    t->set_router_path(rows.router_path());
    t->set_importance_path(calibrated.importance_path());
    t->set_first_layer(kFirstLayer);
    t->add_widths(384);
    t->mutable_optimizer()->set_epochs(3);
    const auto teacher = MustRun(domain, train).train();
    EXPECT_EQ(teacher.steps(), 36);
    EXPECT_EQ(teacher.frozen_digest_before(), teacher.frozen_digest_after());

    job::Task prune;
    auto* p = prune.mutable_prune();
    p->set_model_directory(kAnchor);
    p->set_importance_path(calibrated.importance_path());
    p->set_expert_path(teacher.expert_path());
    p->set_first_layer(kFirstLayer);
    p->add_widths(128);
    const auto pruned = MustRun(domain, prune).prune();
    EXPECT_THAT(pruned.widths(), ::testing::ElementsAre(0, 128, 128, 128));

    job::Task distill;
    auto* d = distill.mutable_distill();
    d->set_model_directory(kAnchor);
    d->set_tokens_path(prepared.tokens_path());
    d->set_trunk_path(calibrated.trunk_path());
    d->set_router_path(rows.router_path());
    d->set_teacher_path(teacher.expert_path());
    d->set_initial_path(pruned.expert_path());
    d->set_first_layer(kFirstLayer);
    const auto student = MustRun(domain, distill).distill();

    job::Task exporting;
    exporting.mutable_export_expert()->set_model_directory(kAnchor);
    exporting.mutable_export_expert()->set_expert_path(student.expert_path());
    exporting.mutable_export_expert()->set_router_path(rows.router_path());
    const auto exported = MustRun(domain, exporting).export_expert();
    EXPECT_THAT(exported.widths(), ::testing::ElementsAre(0, 128, 128, 128));

    job::Task evaluate;
    auto* e = evaluate.mutable_evaluate_domain();
    e->set_model_directory(kAnchor);
    e->set_tokens_path(prepared.tokens_path());
    e->set_trunk_path(calibrated.trunk_path());
    e->set_first_layer(kFirstLayer);
    for (const auto& [label, expert, router] :
         {std::tuple{"anchor", std::string(), std::string()},
          {"teacher", teacher.expert_path(), rows.router_path()},
          {"own", exported.path(), std::string()},
          {"own_unfolded", exported.path(), rows.unfolded_path()}}) {
      auto* model = e->add_models();
      model->set_label(label);
      model->mutable_model()->set_directory(kAnchor);
      if (!expert.empty()) {
        model->mutable_model()->add_expert_paths(expert);
      }
      if (!router.empty()) {
        model->mutable_model()->add_router_paths(router);
      }
    }
    const auto losses = MustRun(domain, evaluate).evaluate_domain();
    ASSERT_EQ(losses.losses_size(), 4);
    const auto loss = [&](int i) { return losses.losses(i).log_loss(); };
    EXPECT_EQ(losses.losses(0).tokens(), 6 * (kWindow - 1));
    EXPECT_EQ(losses.losses(0).window_losses_size(), 6);
    EXPECT_NEAR(loss(0), calibrated.heldout_log_loss(), 1e-5);
    EXPECT_NEAR(loss(1), teacher.heldout_log_loss(), 1e-5);
    EXPECT_NEAR(loss(2), student.heldout_log_loss(), 2e-3);  // bf16
    EXPECT_LT(loss(1), loss(0) - 0.1);
    EXPECT_LT(loss(2), loss(0) - 0.1);
    EXPECT_LT(std::abs(loss(3) - loss(2)), 0.05);

    // Without the stored trunk the numbers are the same.
    e->clear_trunk_path();
    e->clear_first_layer();
    const auto again = MustRun(domain, evaluate).evaluate_domain();
    for (int i = 0; i < 4; ++i) {
      EXPECT_NEAR(again.losses(i).log_loss(), loss(i), 1e-5);
    }
  }
}

TEST_F(WorkerTasksTest, PrunesTheAnchorOnExplicitFiles) {
  job::Task calibrate;
  calibrate.mutable_calibrate()->set_model_directory(kAnchor);
  calibrate.mutable_calibrate()->set_tokens_path(
      kFixtures / "reference/logits.safetensors");
  const auto calibrated = MustRun("explicit", calibrate).calibrate();
  EXPECT_TRUE(calibrated.trunk_path().empty());
  EXPECT_TRUE(calibrated.activations_path().empty());
  job::Task prune;
  prune.mutable_prune()->set_model_directory(kAnchor);
  prune.mutable_prune()->set_importance_path(calibrated.importance_path());
  prune.mutable_prune()->set_fraction(0.7);
  const auto pruned = MustRun("explicit", prune).prune();
  EXPECT_THAT(pruned.widths(), ::testing::Each(256));
  EXPECT_EQ(pruned.parameters(), 4 * 3 * 256 * 128);
}

TEST_F(WorkerTasksTest, RefusesATrainingThatCannotFit) {
  const auto prepared =
      MustRun("fit", PrepareTask("domain_a", "domain_a_heldout"))
          .prepare_text();
  job::Task train;
  auto* t = train.mutable_train();
  t->set_model_directory(kAnchor);
  t->set_tokens_path(prepared.tokens_path());
  t->set_trunk_path("/nowhere");
  t->set_router_path("/nowhere");
  t->set_first_layer(kFirstLayer);
  t->add_widths(384);
  memory_limit_bytes_ = 100 << 20;
  const auto refused = Run("fit", train).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("training would need"));
  EXPECT_THAT(refused.message(), HasSubstr("the job's memory limit has"));
  // With room enough it goes on to the files.
  memory_limit_bytes_ = uint64_t{4} << 30;
  EXPECT_TRUE(absl::IsNotFound(Run("fit", train).status()));
}

TEST_F(WorkerTasksTest, RefusesWhatCannotBe) {
  job::Task prune;
  prune.mutable_prune()->set_model_directory(kAnchor);
  prune.mutable_prune()->set_output_name("../elsewhere");
  EXPECT_THAT(Run("x", prune).status().message(),
              HasSubstr("output_name: got ../elsewhere"));
  prune.mutable_prune()->clear_output_name();
  EXPECT_THAT(Run("x", prune).status().message(), HasSubstr("exactly one"));
  job::Task evaluate;
  evaluate.mutable_evaluate_domain()->set_model_directory(kAnchor);
  evaluate.mutable_evaluate_domain()->set_tokens_path(
      kFixtures / "reference/logits.safetensors");
  evaluate.mutable_evaluate_domain()->set_split("input_ids");
  EXPECT_THAT(Run("x", evaluate).status().message(),
              HasSubstr("models: got none"));
  auto* model = evaluate.mutable_evaluate_domain()->add_models();
  model->mutable_model()->set_directory("/elsewhere");
  EXPECT_THAT(Run("x", evaluate).status().message(),
              HasSubstr("wanted the anchor"));
  job::Task calibrate;
  calibrate.mutable_calibrate()->set_model_directory("/nowhere");
  EXPECT_TRUE(absl::IsNotFound(Run("x", calibrate).status()));
  cancellation_.Cancel();
  EXPECT_TRUE(absl::IsCancelled(
      Run("x", CalibrateTask(kFixtures / "reference/logits.safetensors"))
          .status()));
}

}  // namespace
}  // namespace tributary::contributor
