#include "contributor/study/study_plan.h"

#include <algorithm>
#include <set>

#include "contributor/pipeline/plan.h"

namespace tributary::contributor {
namespace {

constexpr char kImportedFile[] = "imported.safetensors";
constexpr char kTeacherCache[] = "distilled.teacher.safetensors";

class Planner {
 public:
  Planner(const StudyOptions& options, const StudyAnchor& anchor,
          const StageStore& store, const std::string& fingerprint,
          const std::string& zero_router)
      : options_(options),
        anchor_(anchor),
        store_(store),
        fingerprint_(fingerprint) {
    if (!options_.router.empty()) {
      router_ = options_.router;
    } else if (!options_.teacher.empty()) {
      // Rows that come with a teacher are what it was trained with.
      router_ = Teacher();
      rows_stage_ = kStudyTeacher;
    } else if (anchor_.has_statistics) {
      router_ = store_.Output(kStudyRows, kRouterFile);
      rows_stage_ = kStudyRows;
    } else {
      router_ = zero_router;
    }
  }

  StudyPlan Plan() {
    for (const int64_t width : options_.widths) {
      for (const Choice choice :
           {Choice::kDomain, Choice::kGeneral, Choice::kRandom}) {
        plan_.experts.push_back({choice, width, Distilled(choice, width)});
      }
    }
    PlanFractions();
    AddText(kStudyText, options_.texts, options_.heldout);
    AddText(kStudyGeneralText, options_.general_texts, {});
    AddAnchor();
    if (rows_stage_ == kStudyRows) {
      AddRows();
    }
    AddTeacher();
    AddImportance(kStudyDomain, kStudyText);
    AddImportance(kStudyGeneral, kStudyGeneralText);
    AddOverlap();
    AddPrune();
    AddMeasurement(kStudyMeasurePruned, /*distilled=*/false);
    for (const StudyExpert& expert : plan_.experts) {
      if (expert.distilled) {
        AddDistill(expert);
      }
    }
    AddExport();
    AddMeasurement(kStudyMeasureDistilled, /*distilled=*/true);
    return std::move(plan_);
  }

 private:
  bool Distilled(Choice choice, int64_t width) const {
    using Compare = StudyOptions::Compare;
    return choice == Choice::kDomain ||
           (choice == Choice::kGeneral &&
            (options_.compare == Compare::kAll ||
             (options_.compare == Compare::kNarrowest &&
              width == options_.widths.back())));
  }

  // Every twentieth, for a curve, and the widths of the study.
  void PlanFractions() {
    std::set<double> fractions;
    for (int i = 1; i < 20; ++i) {
      fractions.insert(i / 20.0);
    }
    for (const int64_t width : options_.widths) {
      fractions.insert(static_cast<double>(width) /
                       static_cast<double>(anchor_.intermediate_size));
    }
    plan_.fractions.assign(fractions.begin(), fractions.end());
  }

  std::string Teacher() const {
    return store_.Output(
        kStudyTeacher, options_.teacher.empty() ? kTrainedFile : kImportedFile);
  }

  Stage& Begin(const std::string& name, std::set<std::string> after,
               std::vector<std::string> outputs) {
    Stage stage;
    stage.name = name;
    stage.outputs = std::move(outputs);
    stage.input_digests = {fingerprint_};
    stage.job.set_id("study/" + name);
    stage.job.set_seed(options_.seed);
    stage.job.set_device(options_.device);
    stage.job.add_read_paths(options_.model);
    // In the order of the plan.
    for (const Stage& earlier : plan_.stages) {
      if (after.contains(earlier.name)) {
        stage.after.push_back(earlier.name);
        stage.job.add_read_paths(store_.Folder(earlier.name).string());
      }
    }
    plan_.stages.push_back(std::move(stage));
    return plan_.stages.back();
  }

  // Stages that read the rows.
  std::set<std::string> WithRows(std::set<std::string> after) const {
    if (!rows_stage_.empty()) {
      after.insert(rows_stage_);
    }
    return after;
  }
  void ReadRows(Stage& stage) const {
    if (rows_stage_.empty()) {
      stage.job.add_read_paths(router_);
    }
  }

  void AddText(const std::string& name, const std::vector<std::string>& texts,
               const std::vector<std::string>& heldout) {
    Stage& stage = Begin(name, {}, {kTokensFile});
    job::PrepareText* task = stage.job.add_tasks()->mutable_prepare_text();
    task->set_model_directory(options_.model);
    for (const std::string& path : texts) {
      task->add_train_paths(path);
      stage.job.add_read_paths(path);
    }
    for (const std::string& path : heldout) {
      task->add_heldout_paths(path);
      stage.job.add_read_paths(path);
    }
    task->set_text_field(options_.text_field);
    task->set_window_tokens(options_.window_tokens);
    task->set_max_train_windows(options_.max_windows);
    task->set_max_windows_per_document(options_.max_windows_per_document);
  }

  void AddAnchor() {
    Stage& stage = Begin(kStudyAnchor, {kStudyText},
                         {kTrunkFile, kImportanceFile, kActivationsFile});
    job::Calibrate* task = stage.job.add_tasks()->mutable_calibrate();
    task->set_model_directory(options_.model);
    task->set_tokens_path(store_.Output(kStudyText, kTokensFile));
    task->set_first_layer(options_.first_layer);
    task->set_sample_stride(2);
    task->set_write_trunk(true);
  }

  void AddRows() {
    Stage& stage =
        Begin(kStudyRows, {kStudyAnchor}, {kRouterFile, kRouterUnfoldedFile});
    job::FitRouter* task = stage.job.add_tasks()->mutable_fit_router();
    task->set_model_directory(options_.model);
    task->set_activations_path(store_.Output(kStudyAnchor, kActivationsFile));
    task->set_public_statistics_path(options_.model + "/" + kPublicStatistics);
    task->set_first_layer(options_.first_layer);
  }

  void AddTeacher() {
    if (!options_.teacher.empty()) {
      Stage& stage = Begin(kStudyTeacher, {}, {kImportedFile});
      stage.job.add_read_paths(options_.teacher);
      job::ImportExpert* task = stage.job.add_tasks()->mutable_import_expert();
      task->set_model_directory(options_.model);
      task->set_from_path(options_.teacher);
      task->set_expert_index(options_.expert_index);
      return;
    }
    Stage& stage = Begin(kStudyTeacher, WithRows({kStudyText, kStudyAnchor}),
                         {kTrainedFile});
    ReadRows(stage);
    job::Train* task = stage.job.add_tasks()->mutable_train();
    task->set_model_directory(options_.model);
    task->set_tokens_path(store_.Output(kStudyText, kTokensFile));
    task->set_trunk_path(store_.Output(kStudyAnchor, kTrunkFile));
    task->set_router_path(router_);
    task->set_importance_path(store_.Output(kStudyAnchor, kImportanceFile));
    task->set_first_layer(options_.first_layer);
    task->add_widths(anchor_.intermediate_size);
    *task->mutable_optimizer() = options_.training;
    task->set_output_name("expert");
  }

  void AddImportance(const std::string& name, const std::string& text) {
    Stage& stage =
        Begin(name, WithRows({text, kStudyTeacher}), {kImportanceFile});
    ReadRows(stage);
    job::Calibrate* task = stage.job.add_tasks()->mutable_calibrate();
    task->set_model_directory(options_.model);
    task->set_tokens_path(store_.Output(text, kTokensFile));
    task->set_first_layer(options_.first_layer);
    task->set_expert_path(Teacher());
    task->set_router_path(router_);
    task->add_formulas(options_.formula);
  }

  void AddOverlap() {
    Stage& stage = Begin(kStudyOverlap, {kStudyDomain, kStudyGeneral}, {});
    job::CompareImportance* task =
        stage.job.add_tasks()->mutable_compare_importance();
    task->set_first_path(store_.Output(kStudyDomain, kImportanceFile));
    task->set_second_path(store_.Output(kStudyGeneral, kImportanceFile));
    task->mutable_fractions()->Add(plan_.fractions.begin(),
                                   plan_.fractions.end());
  }

  void AddPrune() {
    Stage& stage =
        Begin(kStudyPrune, {kStudyTeacher, kStudyDomain, kStudyGeneral}, {});
    for (const StudyExpert& expert : plan_.experts) {
      stage.outputs.push_back(expert.name() + ".safetensors");
      AddPruneTask(stage, expert, expert.name());
    }
  }

  void AddPruneTask(Stage& stage, const StudyExpert& expert,
                    const std::string& output) const {
    job::Prune* task = stage.job.add_tasks()->mutable_prune();
    task->set_model_directory(options_.model);
    task->set_expert_path(Teacher());
    task->set_first_layer(options_.first_layer);
    task->add_widths(expert.width);
    task->set_output_name(output);
    task->set_ranking(expert.choice == Choice::kRandom
                          ? job::Prune::RANDOM
                          : job::Prune::IMPORTANCE);
    if (expert.choice != Choice::kRandom) {
      task->set_importance_path(store_.Output(
          expert.choice == Choice::kDomain ? kStudyDomain : kStudyGeneral,
          kImportanceFile));
    }
  }

  // Prunes for itself, so that a study with more widths keeps what is done.
  void AddDistill(const StudyExpert& expert) {
    std::set<std::string> after = WithRows(
        {kStudyText, kStudyAnchor, kStudyTeacher,
         expert.choice == Choice::kDomain ? kStudyDomain : kStudyGeneral});
    if (!first_distillation_.empty()) {
      after.insert(first_distillation_);
    }
    Stage& stage =
        Begin(expert.distill_stage(), std::move(after), {kDistilledFile});
    ReadRows(stage);
    AddPruneTask(stage, expert, "pruned");
    job::Distill* task = stage.job.add_tasks()->mutable_distill();
    task->set_model_directory(options_.model);
    task->set_tokens_path(store_.Output(kStudyText, kTokensFile));
    task->set_trunk_path(store_.Output(kStudyAnchor, kTrunkFile));
    task->set_router_path(router_);
    task->set_teacher_path(Teacher());
    task->set_initial_path(store_.Output(stage.name, kPrunedFile));
    task->set_first_layer(options_.first_layer);
    task->set_form(options_.form);
    task->set_text_share(options_.text_share);
    *task->mutable_optimizer() = options_.distillation;
    task->set_output_name("distilled");
    // The teacher is asked once: the first distillation keeps its answers.
    if (first_distillation_.empty()) {
      first_distillation_ = stage.name;
    } else {
      task->set_teacher_cache_path(
          store_.Output(first_distillation_, kTeacherCache));
    }
  }

  void AddExport() {
    std::set<std::string> after = WithRows({});
    for (const StudyExpert& expert : plan_.experts) {
      if (expert.distilled) {
        after.insert(expert.distill_stage());
      }
    }
    Stage& stage = Begin(kStudyExport, std::move(after), {});
    ReadRows(stage);
    for (const StudyExpert& expert : plan_.experts) {
      if (!expert.distilled) {
        continue;
      }
      stage.outputs.push_back(expert.name() + ".safetensors");
      job::ExportExpert* task = stage.job.add_tasks()->mutable_export_expert();
      task->set_model_directory(options_.model);
      task->set_expert_path(
          store_.Output(expert.distill_stage(), kDistilledFile));
      task->set_router_path(router_);
      task->set_output_name(expert.name());
    }
  }

  // Log-losses on the held-out windows: anchor, full and pruned experts, or the
  // distilled ones as they would be uploaded.
  void AddMeasurement(const std::string& name, bool distilled) {
    const std::string source = distilled ? kStudyExport : kStudyPrune;
    Stage& stage = Begin(
        name, WithRows({kStudyText, kStudyAnchor, kStudyTeacher, source}), {});
    ReadRows(stage);
    job::EvaluateDomain* task =
        stage.job.add_tasks()->mutable_evaluate_domain();
    task->set_model_directory(options_.model);
    task->set_tokens_path(store_.Output(kStudyText, kTokensFile));
    task->set_trunk_path(store_.Output(kStudyAnchor, kTrunkFile));
    task->set_first_layer(options_.first_layer);
    const auto add = [&](const std::string& label, const std::string& expert) {
      job::LabelledModel* model = task->add_models();
      model->set_label(label);
      model->mutable_model()->set_directory(options_.model);
      if (!expert.empty()) {
        model->mutable_model()->add_expert_paths(expert);
        model->mutable_model()->add_router_paths(router_);
      }
    };
    if (!distilled) {
      add("anchor", "");
      add("full", Teacher());
    }
    for (const StudyExpert& expert : plan_.experts) {
      if (!distilled || expert.distilled) {
        add(expert.name(),
            store_.Output(source, expert.name() + ".safetensors"));
      }
    }
  }

  const StudyOptions& options_;
  const StudyAnchor& anchor_;
  const StageStore& store_;
  const std::string fingerprint_;
  std::string router_;
  std::string rows_stage_;  // that makes the rows; empty: an input
  std::string first_distillation_;
  StudyPlan plan_;
};

}  // namespace

std::string_view ChoiceName(Choice choice) {
  switch (choice) {
    case Choice::kDomain:
      return "domain";
    case Choice::kGeneral:
      return "general";
    case Choice::kRandom:
      return "random";
  }
  return "unknown";
}

std::string StudyExpert::name() const {
  return fmt::format("{}-{}", ChoiceName(choice), width);
}

StudyPlan PlanStudy(const StudyOptions& options, const StudyAnchor& anchor,
                    const StageStore& store, const std::string& fingerprint,
                    const std::string& zero_router) {
  return Planner(options, anchor, store, fingerprint, zero_router).Plan();
}

}  // namespace tributary::contributor
