#include "contributor/pipeline/plan.h"

#include <filesystem>

namespace tributary::contributor {
namespace {

std::string Absolute(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

class Planner {
 public:
  Planner(const Settings& settings, const AnchorFacts& anchor,
          const StageStore& store)
      : settings_(settings), anchor_(anchor), store_(store) {}

  // A stage with one task, which the caller fills in.
  Stage Begin(const std::string& name, std::vector<std::string> after,
              std::vector<std::string> outputs) const {
    Stage stage;
    stage.name = name;
    stage.after = std::move(after);
    stage.outputs = std::move(outputs);
    stage.input_digests = {anchor_.digest};
    stage.job.set_id(settings_.contribution + "/" + name);
    stage.job.set_seed(settings_.seed);
    stage.job.add_read_paths(anchor_.directory);
    for (const std::string& earlier : stage.after) {
      stage.job.add_read_paths(store_.Folder(earlier).string());
    }
    return stage;
  }

  Stage PrepareText(const std::string& text_fingerprint) const {
    Stage stage = Begin(kPrepareText, {}, {kTokensFile});
    stage.input_digests.push_back(text_fingerprint);
    const config::Data& data = settings_.data;
    job::PrepareText* task = stage.job.add_tasks()->mutable_prepare_text();
    task->set_model_directory(anchor_.directory);
    for (const std::string& path : data.train()) {
      task->add_train_paths(Absolute(path));
      stage.job.add_read_paths(Absolute(path));
    }
    for (const std::string& path : data.heldout()) {
      task->add_heldout_paths(Absolute(path));
      stage.job.add_read_paths(Absolute(path));
    }
    task->set_text_field(data.text_field());
    task->set_window_tokens(data.window_tokens());
    task->set_max_train_windows(data.max_train_windows());
    task->set_max_heldout_windows(data.max_heldout_windows());
    task->set_max_windows_per_document(data.max_windows_per_document());
    task->set_share_windows(data.share_windows());
    task->set_min_documents(settings_.min_documents);
    task->set_min_tokens(settings_.min_tokens);
    return stage;
  }

  Stage Calibrate() const {
    Stage stage = Begin(kCalibrate, {kPrepareText},
                        {kTrunkFile, kImportanceFile, kActivationsFile});
    job::Calibrate* task = stage.job.add_tasks()->mutable_calibrate();
    task->set_model_directory(anchor_.directory);
    task->set_tokens_path(store_.Output(kPrepareText, kTokensFile));
    task->set_first_layer(settings_.first_layer);
    task->set_sample_stride(anchor_.sample_stride);
    task->set_write_trunk(true);
    if (settings_.router_statistics) {
      task->set_write_second_moments(true);
      stage.outputs.push_back(kSecondMomentsFile);
    }
    return stage;
  }

  Stage FitRouter() const {
    Stage stage =
        Begin(kFitRouter, {kCalibrate}, {kRouterFile, kRouterUnfoldedFile});
    job::FitRouter* task = stage.job.add_tasks()->mutable_fit_router();
    task->set_model_directory(anchor_.directory);
    task->set_activations_path(store_.Output(kCalibrate, kActivationsFile));
    task->set_public_statistics_path(anchor_.directory + "/" +
                                     kPublicStatistics);
    task->set_first_layer(settings_.first_layer);
    task->set_method(settings_.router);
    return stage;
  }

  std::string FittedRows() const {
    return store_.Output(kFitRouter, settings_.unfolded_rows
                                         ? kRouterUnfoldedFile
                                         : kRouterFile);
  }

  // The narrow expert, or the full-width teacher of the other recipe. Either
  // stores its channels by descending importance: pruning takes a prefix.
  Stage Train() const {
    const bool teacher = settings_.recipe == Recipe::kPruneAndDistil;
    Stage stage = Begin(
        kTrain,
        PrunesFirst()
            ? std::vector<std::string>{kPrepareText, kCalibrate, kFitRouter,
                                       kPrune}
            : std::vector<std::string>{kPrepareText, kCalibrate, kFitRouter},
        {kTrainedFile});
    job::Train* task = stage.job.add_tasks()->mutable_train();
    task->set_model_directory(anchor_.directory);
    task->set_tokens_path(store_.Output(kPrepareText, kTokensFile));
    task->set_trunk_path(store_.Output(kCalibrate, kTrunkFile));
    if (settings_.trains_rows) {
      task->set_rows(job::Train::TRAINED);
      task->set_activations_path(store_.Output(kCalibrate, kActivationsFile));
      stage.outputs.push_back(kTrainedRowsFile);
    } else {
      task->set_router_path(FittedRows());
    }
    task->set_first_layer(settings_.first_layer);
    if (PrunesFirst()) {
      task->set_initial_path(store_.Output(kPrune, kPrunedFile));
    } else {
      task->set_importance_path(store_.Output(kCalibrate, kImportanceFile));
      if (teacher) {
        task->add_widths(anchor_.intermediate_size);
      } else {
        SetWidths(task->mutable_widths());
      }
    }
    *task->mutable_optimizer() = settings_.optimizer;
    task->set_output_name("expert");
    return stage;
  }

  // Of the teacher; or, where widths have to be chosen for training, of the
  // anchor.
  Stage Prune() const {
    Stage stage = Begin(
        kPrune, {kPrepareText, kCalibrate, PrunesFirst() ? kFitRouter : kTrain},
        {kPrunedFile});
    job::Prune* task = stage.job.add_tasks()->mutable_prune();
    task->set_model_directory(anchor_.directory);
    task->set_importance_path(store_.Output(kCalibrate, kImportanceFile));
    if (!PrunesFirst()) {
      task->set_expert_path(store_.Output(kTrain, kTrainedFile));
    }
    task->set_first_layer(settings_.first_layer);
    if (settings_.chooses_widths()) {
      task->set_parameter_budget(settings_.parameter_budget);
      task->set_quality_bound(settings_.quality_bound);
      task->set_max_width(settings_.width);
      task->set_tokens_path(store_.Output(kPrepareText, kTokensFile));
      task->set_trunk_path(store_.Output(kCalibrate, kTrunkFile));
      task->set_router_path(FittedRows());
      stage.job.add_read_paths(store_.Folder(kFitRouter).string());
    } else {
      SetWidths(task->mutable_widths());
    }
    task->set_output_name("pruned");
    return stage;
  }

  Stage Distill() const {
    Stage stage =
        Begin(kDistill, {kPrepareText, kCalibrate, kFitRouter, kTrain, kPrune},
              {kDistilledFile});
    job::Distill* task = stage.job.add_tasks()->mutable_distill();
    task->set_model_directory(anchor_.directory);
    task->set_tokens_path(store_.Output(kPrepareText, kTokensFile));
    task->set_trunk_path(store_.Output(kCalibrate, kTrunkFile));
    task->set_router_path(FittedRows());
    task->set_teacher_path(store_.Output(kTrain, kTrainedFile));
    task->set_initial_path(store_.Output(kPrune, kPrunedFile));
    task->set_first_layer(settings_.first_layer);
    task->set_form(settings_.form);
    task->set_text_share(settings_.text_share);
    *task->mutable_optimizer() = settings_.optimizer;
    task->set_output_name("distilled");
    return stage;
  }

  Stage Export() const {
    const bool distilled = settings_.recipe == Recipe::kPruneAndDistil;
    const std::string source = distilled ? kDistill : kTrain;
    Stage stage = Begin(kExport, {kFitRouter, source}, {kExportFile});
    job::ExportExpert* task = stage.job.add_tasks()->mutable_export_expert();
    task->set_model_directory(anchor_.directory);
    task->set_expert_path(
        store_.Output(source, distilled ? kDistilledFile : kTrainedFile));
    task->set_router_path(settings_.trains_rows
                              ? store_.Output(kTrain, kTrainedRowsFile)
                              : FittedRows());
    task->set_output_name("export");
    task->set_rank(settings_.rank);
    return stage;
  }

  Stage Evaluate() const {
    Stage stage =
        Begin(kEvaluate, {kPrepareText, kCalibrate, kFitRouter, kExport}, {});
    job::EvaluateDomain* own = AddOwnText(stage);
    AddModels(own);
    if (!settings_.trains_rows && !settings_.unfolded_rows) {
      job::LabelledModel* unfolded = own->add_models();
      unfolded->set_label("own_unfolded");
      *unfolded->mutable_model() = OwnModel();
      unfolded->mutable_model()->add_router_paths(
          store_.Output(kFitRouter, kRouterUnfoldedFile));
    }
    AddPublicText(stage, {{"anchor", AnchorModel()}, {"own", OwnModel()}});
    return stage;
  }

  Stage EvaluateRelease(const ReleaseToEvaluate& fetched) const {
    Stage stage = Begin("evaluate_release_" + fetched.id,
                        {kPrepareText, kCalibrate, kExport}, {});
    stage.input_digests.push_back(fetched.digest);
    stage.job.add_read_paths(fetched.directory);
    job::ModelSource release;
    release.set_directory(fetched.directory);
    job::EvaluateDomain* own = AddOwnText(stage);
    if (settings_.first_layer != anchor_.first_layer) {
      // Experts of others may live below this contribution's first layer.
      own->clear_trunk_path();
      own->clear_first_layer();
    }
    job::LabelledModel* merged = own->add_models();
    merged->set_label("release");
    *merged->mutable_model() = release;
    AddPublicText(stage, {{"release", release}});
    job::CompareRows* rows = stage.job.add_tasks()->mutable_compare_rows();
    rows->set_activations_path(store_.Output(kCalibrate, kActivationsFile));
    rows->set_router_path(fetched.directory + "/" + kRouterFile);
    rows->mutable_contributions()->Assign(fetched.contributions.begin(),
                                          fetched.contributions.end());
    rows->mutable_own()->Assign(fetched.own.begin(), fetched.own.end());
    return stage;
  }

  // Training starts from channels that a stage before it has chosen.
  bool PrunesFirst() const {
    return settings_.recipe == Recipe::kTrain && settings_.chooses_widths();
  }

 private:
  using Labelled = std::pair<std::string, job::ModelSource>;

  void SetWidths(google::protobuf::RepeatedField<int64_t>* widths) const {
    if (settings_.widths.empty()) {
      widths->Add(settings_.width);
    } else {
      widths->Add(settings_.widths.begin(), settings_.widths.end());
    }
  }

  job::ModelSource AnchorModel() const {
    job::ModelSource model;
    model.set_directory(anchor_.directory);
    return model;
  }

  job::ModelSource OwnModel() const {
    job::ModelSource model = AnchorModel();
    model.add_expert_paths(store_.Output(kExport, kExportFile));
    return model;
  }

  void AddModels(job::EvaluateDomain* task) const {
    job::LabelledModel* anchor = task->add_models();
    anchor->set_label("anchor");
    *anchor->mutable_model() = AnchorModel();
    job::LabelledModel* own = task->add_models();
    own->set_label("own");
    *own->mutable_model() = OwnModel();
  }

  job::EvaluateDomain* AddOwnText(Stage& stage) const {
    job::EvaluateDomain* task =
        stage.job.add_tasks()->mutable_evaluate_domain();
    task->set_model_directory(anchor_.directory);
    task->set_tokens_path(store_.Output(kPrepareText, kTokensFile));
    task->set_trunk_path(store_.Output(kCalibrate, kTrunkFile));
    task->set_first_layer(settings_.first_layer);
    return task;
  }

  // The anchor's public held-out windows in one task, or the site's choice of
  // public text in one task for each model.
  void AddPublicText(Stage& stage, const std::vector<Labelled>& models) const {
    const config::Data& data = settings_.data;
    if (data.public_heldout().empty()) {
      job::EvaluateDomain* task =
          stage.job.add_tasks()->mutable_evaluate_domain();
      task->set_model_directory(anchor_.directory);
      task->set_tokens_path(anchor_.directory + "/" + kPublicTokens);
      for (const auto& [label, model] : models) {
        job::LabelledModel* labelled = task->add_models();
        labelled->set_label(label);
        *labelled->mutable_model() = model;
      }
      return;
    }
    for (const std::string& path : data.public_heldout()) {
      stage.job.add_read_paths(Absolute(path));
    }
    for (const auto& [label, model] : models) {
      job::ModelEvaluate* task =
          stage.job.add_tasks()->mutable_model_evaluate();
      *task->mutable_model() = model;
      for (const std::string& path : data.public_heldout()) {
        task->add_text_paths(Absolute(path));
      }
      task->set_window_tokens(data.window_tokens());
    }
  }

  const Settings& settings_;
  const AnchorFacts& anchor_;
  const StageStore& store_;
};

}  // namespace

std::vector<Stage> PlanStages(const Settings& settings,
                              const AnchorFacts& anchor,
                              const StageStore& store,
                              const std::string& text_fingerprint) {
  const Planner planner(settings, anchor, store);
  std::vector<Stage> stages = {planner.PrepareText(text_fingerprint),
                               planner.Calibrate(), planner.FitRouter()};
  if (planner.PrunesFirst()) {
    stages.push_back(planner.Prune());
  }
  stages.push_back(planner.Train());
  if (settings.recipe == Recipe::kPruneAndDistil) {
    stages.push_back(planner.Prune());
    stages.push_back(planner.Distill());
  }
  stages.push_back(planner.Export());
  stages.push_back(planner.Evaluate());
  return stages;
}

const Stage* FindStage(const std::vector<Stage>& stages,
                       std::string_view name) {
  for (const Stage& stage : stages) {
    if (stage.name == name) {
      return &stage;
    }
  }
  return nullptr;
}

Stage PlanReleaseEvaluation(const Settings& settings, const AnchorFacts& anchor,
                            const StageStore& store,
                            const ReleaseToEvaluate& release) {
  return Planner(settings, anchor, store).EvaluateRelease(release);
}

}  // namespace tributary::contributor
