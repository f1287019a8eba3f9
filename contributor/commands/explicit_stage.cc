#include "contributor/commands/explicit_stage.h"

#include "contributor/commands/common.h"
#include "contributor/commands/explicit_facts.h"
#include "contributor/commands/explicit_job.h"
#include "contributor/pipeline/plan.h"
#include "contributor/pipeline/worker_runner.h"

namespace tributary::contributor {
namespace {

nlohmann::json TrainingFacts(const job::TrainResult& result) {
  nlohmann::json prefixes = nlohmann::json::array();
  for (const job::PrefixLoss& prefix : result.prefixes()) {
    prefixes.push_back({{"width", prefix.width()},
                        {"heldout_log_loss", prefix.heldout_log_loss()}});
  }
  return {{"steps", result.steps()},
          {"tokens", result.tokens()},
          {"first_loss", result.first_loss()},
          {"last_loss", result.last_loss()},
          {"heldout_log_loss", result.heldout_log_loss()},
          {"resumed", result.resumed()},
          {"frozen_digest_before", result.frozen_digest_before()},
          {"frozen_digest_after", result.frozen_digest_after()},
          {"best_step", result.best_step()},
          {"stopped_early", result.stopped_early()},
          {"predicted_peak_bytes", result.predicted_peak_bytes()},
          {"measured_peak_bytes", result.measured_peak_bytes()},
          {"prefixes", std::move(prefixes)}};
}

// The loss curve, as lines and as a picture, and what tells which anchor the
// expert belongs to.
void KeepCurve(ExplicitJob& job, const std::string& stem) {
  job.AlsoKeep(stem + ".safetensors.anchor", ".anchor");
  job.AlsoKeep(stem + ".loss.jsonl", ".loss.jsonl");
  job.AlsoKeep(stem + ".loss.svg", ".loss.svg");
}

}  // namespace

Status RunExplicitTrain(const cli::CommandContext& context,
                        const ExplicitOptions& options) {
  ASSIGN_OR_RETURN(ExplicitJob job, ExplicitJob::Create("train", options));
  RETURN_IF_ERROR(job.AddPrepareText(options));
  job.AddCalibrate(options);
  std::string router = job.Work("expert.router.safetensors");
  if (!options.rows.trained()) {
    ASSIGN_OR_RETURN(router, job.AddRouter(options));
  }
  job::Train* task = job.job().add_tasks()->mutable_train();
  task->set_model_directory(job.model());
  task->set_tokens_path(job.Work(kTokensFile));
  task->set_trunk_path(job.Work(kTrunkFile));
  if (options.rows.trained()) {
    task->set_rows(job::Train::TRAINED);
    task->set_activations_path(job.Work(kActivationsFile));
    task->set_row_bias(options.rows.row_bias);
    if (options.rows.z_loss) {
      task->set_z_loss(*options.rows.z_loss);
    }
  } else {
    task->set_router_path(router);
  }
  task->set_importance_path(job.Work(kImportanceFile));
  if (!options.initial.empty()) {
    ASSIGN_OR_RETURN(*task->mutable_initial_path(),
                     job.Input(options.initial, "--initial"));
  }
  task->set_first_layer(options.first_layer);
  if (options.width > 0 || options.initial.empty()) {
    task->add_widths(options.width > 0 ? options.width
                                       : job.intermediate_size());
  }
  *task->mutable_optimizer() = OptimizerOf(options.training);
  task->set_output_name("expert");
  KeepCurve(job, "expert");
  job.AddExport(job.Work(kTrainedFile), router);
  ASSIGN_OR_RETURN(const job::Result result, job.Run(context, kExportFile));
  nlohmann::json facts = ExportFacts(Last(result).export_expert());
  facts["training"] = TrainingFacts(Last(result, 1).train());
  PrintWritten(context, options.output, std::move(facts));
  return absl::OkStatus();
}

Status RunExplicitDistill(const cli::CommandContext& context,
                          const ExplicitOptions& options) {
  ASSIGN_OR_RETURN(ExplicitJob job, ExplicitJob::Create("distill", options));
  ASSIGN_OR_RETURN(const std::string teacher,
                   job.Input(options.teacher, "--teacher"));
  if (FileSize(teacher + ".anchor").ok()) {
    job.job().add_read_paths(teacher + ".anchor");
  }
  if (options.initial.empty() == (options.width == 0)) {
    return InvalidArgument(
        "wanted either --width (the teacher is pruned to it) or --initial (a "
        "pruned expert), got {}",
        options.width == 0 ? "neither" : "both");
  }
  RETURN_IF_ERROR(job.AddPrepareText(options));
  job.AddCalibrate(options);
  ASSIGN_OR_RETURN(const std::string router, job.AddRouter(options));
  std::string initial = job.Work(kPrunedFile);
  if (options.initial.empty()) {
    job::Prune* prune = job.job().add_tasks()->mutable_prune();
    prune->set_model_directory(job.model());
    prune->set_importance_path(job.Work(kImportanceFile));
    prune->set_expert_path(teacher);
    prune->set_first_layer(options.first_layer);
    prune->add_widths(options.width);
    prune->set_output_name("pruned");
  } else {
    ASSIGN_OR_RETURN(initial, job.Input(options.initial, "--initial"));
  }
  job::Distill* task = job.job().add_tasks()->mutable_distill();
  task->set_model_directory(job.model());
  task->set_tokens_path(job.Work(kTokensFile));
  task->set_trunk_path(job.Work(kTrunkFile));
  task->set_router_path(router);
  task->set_teacher_path(teacher);
  task->set_initial_path(initial);
  task->set_first_layer(options.first_layer);
  task->set_form(options.form == "renormalised" ? job::Distill::RENORMALISED
                                                : job::Distill::TAIL);
  task->set_text_share(options.text_share);
  *task->mutable_optimizer() = OptimizerOf(options.training);
  task->set_output_name("distilled");
  KeepCurve(job, "distilled");
  job.AddExport(job.Work(kDistilledFile), router);
  ASSIGN_OR_RETURN(const job::Result result, job.Run(context, kExportFile));
  nlohmann::json facts = ExportFacts(Last(result).export_expert());
  facts["training"] = TrainingFacts(Last(result, 1).distill());
  PrintWritten(context, options.output, std::move(facts));
  return absl::OkStatus();
}

Status RunExplicitExport(const cli::CommandContext& context,
                         const ExplicitOptions& options) {
  ASSIGN_OR_RETURN(ExplicitJob job, ExplicitJob::Create("export", options));
  ASSIGN_OR_RETURN(const std::string expert,
                   job.Input(options.expert, "--expert"));
  std::string router;
  if (!options.router.empty()) {
    ASSIGN_OR_RETURN(router, job.Input(options.router, "--router"));
  }
  job.AddExport(expert, router, options.rank);
  ASSIGN_OR_RETURN(const job::Result result, job.Run(context, kExportFile));
  PrintWritten(context, options.output,
               ExportFacts(Last(result).export_expert()));
  return absl::OkStatus();
}

Status RunExplicitEvaluation(const cli::CommandContext& context,
                             const ExplicitEvaluation& options) {
  ASSIGN_OR_RETURN(const TemporaryDirectory folder,
                   TemporaryDirectory::Create("tributary-evaluate"));
  ExplicitOptions base;
  base.model = options.model;
  base.output = (folder.path() / "unused").string();
  ASSIGN_OR_RETURN(ExplicitJob job, ExplicitJob::Create("evaluate", base));
  job::ModelSource anchor;
  anchor.set_directory(job.model());
  job::ModelSource own = anchor;
  for (const std::string& expert : options.experts) {
    ASSIGN_OR_RETURN(*own.add_expert_paths(), job.Input(expert, "--expert"));
  }
  std::vector<std::string> texts;
  for (const std::string& text : options.texts) {
    ASSIGN_OR_RETURN(texts.emplace_back(), job.Input(text, "--text"));
  }
  if (texts.empty()) {
    return InvalidArgument("--text: got nothing, wanted a file or folder");
  }
  std::vector<std::pair<std::string, job::ModelSource>> models = {
      {"anchor", anchor}};
  if (!options.experts.empty()) {
    models.emplace_back("own", own);
  }
  for (const auto& [label, model] : models) {
    job::ModelEvaluate* task = job.job().add_tasks()->mutable_model_evaluate();
    *task->mutable_model() = model;
    for (const std::string& text : texts) {
      task->add_text_paths(text);
    }
  }
  job.job().set_output_directory((folder.path() / "job").string());
  config::WorkerLimits limits;
  limits.set_threads(options.threads);
  ASSIGN_OR_RETURN(
      const auto worker,
      CreateProcessWorker(
          {.limits = limits, .cancellation = &context.cancellation}));
  cli::ProgressBar bar(context.output);
  ASSIGN_OR_RETURN(const job::Result result,
                   worker->Run(job.job(), [&](const job::Progress& line) {
                     bar.Update(line.stage(), line.fraction(), line.message());
                   }));
  std::vector<MeasuredLoss> losses;
  for (int t = 0; t < result.tasks_size(); ++t) {
    for (const job::ModelLoss& loss :
         result.tasks(t).model_evaluate().losses()) {
      losses.push_back({.text = "own",
                        .model = models[t].first,
                        .log_loss = loss.log_loss(),
                        .tokens = loss.tokens()});
    }
  }
  context.output.Print(LossTable(losses), {{"losses", ToJson(losses, "own")}});
  return absl::OkStatus();
}

}  // namespace tributary::contributor
