#include "contributor/commands/explicit_importance.h"

#include <algorithm>
#include <charconv>

#include "common/base/files.h"
#include "common/cli/progress.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"
#include "contributor/commands/explicit_facts.h"
#include "contributor/commands/explicit_job.h"
#include "contributor/pipeline/plan.h"
#include "contributor/pipeline/worker_runner.h"
#include "contributor/study/overlap_report.h"

namespace tributary::contributor {
namespace {

constexpr char kPlanFile[] = "pruned.plan.safetensors";
constexpr char kImportedFile[] = "imported.safetensors";

// "2/4": part and number of parts.
Status SetShard(const std::string& text, job::Calibrate* task) {
  if (text.empty()) {
    return absl::OkStatus();
  }
  int32_t shard = 0;
  int32_t shards = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, shard);
  const bool slash =
      first.ec == std::errc() && first.ptr != end && *first.ptr == '/';
  if (!slash || std::from_chars(first.ptr + 1, end, shards).ptr != end ||
      shards < 1 || shard < 0 || shard >= shards) {
    return InvalidArgument(
        "--shard: got {}, wanted part/parts, such as 0/4 to 3/4", text);
  }
  task->set_shard(shard);
  task->set_shards(shards);
  return absl::OkStatus();
}

// Exactly one kind of width.
Status SetWidth(const ExplicitOptions& options, const PruneFlags& flags,
                job::Prune* task) {
  const int given = static_cast<int>(options.width > 0) +
                    static_cast<int>(!flags.widths.empty()) +
                    static_cast<int>(options.fraction > 0) +
                    static_cast<int>(options.budget > 0) +
                    static_cast<int>(flags.quality > 0);
  if (given != 1) {
    return InvalidArgument(
        "got {} of --width, --widths, --fraction, --auto and --quality, wanted "
        "one of them with a value above 0",
        given);
  }
  if (options.width > 0) {
    task->add_widths(options.width);
  }
  task->mutable_widths()->Add(flags.widths.begin(), flags.widths.end());
  task->set_fraction(options.fraction);
  task->set_parameter_budget(options.budget);
  task->set_quality_bound(flags.quality);
  return absl::OkStatus();
}

Status SetRanking(const ExplicitOptions& options, const PruneFlags& flags,
                  job::Prune* task) {
  ASSIGN_OR_RETURN(const job::Calibrate::Formula formula,
                   FormulaOf(flags.formula));
  task->set_formula(formula);
  // Scores that are named are meant to rank.
  const std::string ranking = !flags.ranking.empty()        ? flags.ranking
                              : !options.importance.empty() ? "importance"
                                                            : "";
  task->set_ranking(ranking == "importance" ? job::Prune::IMPORTANCE
                    : ranking == "stored"   ? job::Prune::STORED
                    : ranking == "random"   ? job::Prune::RANDOM
                                            : job::Prune::RANKING_UNSPECIFIED);
  return absl::OkStatus();
}

bool HasRows(const std::string& expert) {
  const auto file = safetensors::File::Open(expert);
  return file.ok() && (*file)->Find(model_format::RouterWeight(0)) != nullptr;
}

}  // namespace

StatusOr<job::Calibrate::Formula> FormulaOf(const std::string& name) {
  const std::pair<const char*, job::Calibrate::Formula> known[] = {
      {"", job::Calibrate::FORMULA_UNSPECIFIED},
      {"window-mean", job::Calibrate::WINDOW_MEAN},
      {"wanda", job::Calibrate::WANDA},
      {"reap", job::Calibrate::REAP},
      {"taylor", job::Calibrate::TAYLOR}};
  for (const auto& [text, formula] : known) {
    if (name == text) {
      return formula;
    }
  }
  return InvalidArgument(
      "--formula: got {}, wanted window-mean, wanda, reap or taylor", name);
}

Status RunExplicitCalibrate(const cli::CommandContext& context,
                            const ExplicitOptions& options,
                            const CalibrateFlags& flags) {
  ASSIGN_OR_RETURN(ExplicitJob job, ExplicitJob::Create("calibrate", options));
  const int inputs = static_cast<int>(!options.input.empty()) +
                     static_cast<int>(!options.texts.empty()) +
                     static_cast<int>(!flags.merge.empty());
  if (inputs != 1) {
    return InvalidArgument("wanted one of --input, --text and --merge, got {}",
                           inputs);
  }
  if (!flags.merge.empty()) {
    job::MergeImportance* merge =
        job.job().add_tasks()->mutable_merge_importance();
    for (const std::string& file : flags.merge) {
      ASSIGN_OR_RETURN(*merge->add_importance_paths(),
                       job.Input(file, "--merge"));
    }
    ASSIGN_OR_RETURN(const job::Result result,
                     job.Run(context, kImportanceFile));
    PrintWritten(context, options.output,
                 {{"tokens", Last(result).merge_importance().tokens()},
                  {"merged", flags.merge.size()}});
    return absl::OkStatus();
  }
  std::string tokens = job.Work(kTokensFile);
  if (options.input.empty()) {
    RETURN_IF_ERROR(job.AddPrepareText(options));
  } else {
    ASSIGN_OR_RETURN(tokens, job.Input(options.input, "--input"));
  }
  job::Calibrate* task = job.job().add_tasks()->mutable_calibrate();
  task->set_model_directory(job.model());
  task->set_tokens_path(tokens);
  task->set_first_layer(options.first_layer);
  for (const std::string& name : flags.formulas) {
    ASSIGN_OR_RETURN(const job::Calibrate::Formula formula, FormulaOf(name));
    task->add_formulas(formula);
  }
  if (!options.expert.empty()) {
    ASSIGN_OR_RETURN(*task->mutable_expert_path(),
                     job.Input(options.expert, "--expert"));
  }
  if (!options.router.empty()) {
    ASSIGN_OR_RETURN(*task->mutable_router_path(),
                     job.Input(options.router, "--router"));
  }
  RETURN_IF_ERROR(SetShard(flags.shard, task));
  task->set_write_sums(flags.sums || !flags.shard.empty());
  task->set_write_second_moments(flags.second_moments);
  if (flags.second_moments) {
    job.AlsoKeep(kSecondMomentsFile, ".second_moments.safetensors");
  }
  ASSIGN_OR_RETURN(const job::Result result, job.Run(context, kImportanceFile));
  const job::CalibrateResult& found = Last(result).calibrate();
  PrintWritten(
      context, options.output,
      {{"tokens", found.tokens()}, {"train_log_loss", found.train_log_loss()}});
  return absl::OkStatus();
}

Status RunExplicitPrune(const cli::CommandContext& context,
                        const ExplicitOptions& options,
                        const PruneFlags& flags) {
  ASSIGN_OR_RETURN(ExplicitJob job, ExplicitJob::Create("prune", options));
  std::string router;
  if (!options.router.empty()) {
    ASSIGN_OR_RETURN(router, job.Input(options.router, "--router"));
  }
  job::Prune task;
  task.set_model_directory(job.model());
  if (!options.importance.empty()) {
    ASSIGN_OR_RETURN(*task.mutable_importance_path(),
                     job.Input(options.importance, "--importance"));
  }
  if (!options.expert.empty()) {
    ASSIGN_OR_RETURN(*task.mutable_expert_path(),
                     job.Input(options.expert, "--expert"));
    if (router.empty() && HasRows(task.expert_path())) {
      router = task.expert_path();
    }
  }
  if (router.empty()) {
    ASSIGN_OR_RETURN(router, job.WriteZeroRouter());
  }
  task.set_first_layer(options.first_layer);
  RETURN_IF_ERROR(SetWidth(options, flags, &task));
  RETURN_IF_ERROR(SetRanking(options, flags, &task));
  if (flags.quality > 0 && options.texts.empty()) {
    return InvalidArgument(
        "--quality is measured on held-out text; give --text, and --heldout "
        "unless it is to be split off");
  }
  if (!options.texts.empty()) {
    RETURN_IF_ERROR(job.AddPrepareText(options));
    job.AddCalibrate(options);
    task.set_tokens_path(job.Work(kTokensFile));
    task.set_trunk_path(job.Work(kTrunkFile));
    task.set_router_path(router);
  }
  task.set_output_name("pruned");
  *job.job().add_tasks()->mutable_prune() = task;
  job.AlsoKeep(kPlanFile, ".plan.safetensors");
  job.AddExport(job.Work(kPrunedFile), router);
  ASSIGN_OR_RETURN(const job::Result result, job.Run(context, kExportFile));
  nlohmann::json facts = ExportFacts(Last(result).export_expert());
  for (const job::WidthTrial& trial : Last(result, 1).prune().trials()) {
    facts["trials"].push_back(
        {{"label", trial.label()},
         {"widths",
          std::vector<int64_t>(trial.widths().begin(), trial.widths().end())},
         {"heldout_log_loss", trial.heldout_log_loss()}});
  }
  PrintWritten(context, options.output, std::move(facts));
  return absl::OkStatus();
}

Status RunExplicitImport(const cli::CommandContext& context,
                         const ExplicitOptions& options,
                         const ImportFlags& flags) {
  ASSIGN_OR_RETURN(ExplicitJob job, ExplicitJob::Create("import", options));
  job::ImportExpert* task = job.job().add_tasks()->mutable_import_expert();
  task->set_model_directory(job.model());
  ASSIGN_OR_RETURN(*task->mutable_from_path(), job.Input(flags.from, "--from"));
  task->set_expert_index(flags.expert_index);
  ASSIGN_OR_RETURN(const job::Result result, job.Run(context, kImportedFile));
  const job::ImportExpertResult& imported = Last(result).import_expert();
  PrintWritten(context, options.output,
               {{"widths", std::vector<int64_t>(imported.widths().begin(),
                                                imported.widths().end())},
                {"compared_tensors", imported.compared_tensors()},
                {"frozen_digest", imported.frozen_digest()}});
  return absl::OkStatus();
}

Status RunExplicitOverlap(const cli::CommandContext& context,
                          const OverlapFlags& flags) {
  if (flags.importance.size() != 2) {
    return InvalidArgument("--importance: got {} files, wanted two to compare",
                           flags.importance.size());
  }
  if (flags.output.empty()) {
    return InvalidArgument("--output: got nothing, wanted a folder");
  }
  std::vector<std::string> paths;
  for (const std::string& file : flags.importance) {
    std::error_code error;
    paths.push_back(std::filesystem::absolute(file, error).string());
    if (!FileSize(paths.back()).ok()) {
      return NotFound("--importance: \"{}\" is not there", file);
    }
  }
  ASSIGN_OR_RETURN(const job::Calibrate::Formula formula,
                   FormulaOf(flags.formula));
  OverlapReport report{.first = std::filesystem::path(paths[0]).stem(),
                       .second = std::filesystem::path(paths[1]).stem(),
                       .fractions = flags.tops,
                       .shown = flags.tops,
                       .layers = {}};
  for (int i = 1; i < 20; ++i) {
    report.fractions.push_back(i / 20.0);
  }
  std::ranges::sort(report.fractions);
  report.fractions.erase(
      std::unique(report.fractions.begin(), report.fractions.end()),
      report.fractions.end());
  ASSIGN_OR_RETURN(const TemporaryDirectory folder,
                   TemporaryDirectory::Create("tributary-overlap"));
  job::Job job;
  job.set_id("overlap");
  job.set_output_directory((folder.path() / "job").string());
  job::CompareImportance* task = job.add_tasks()->mutable_compare_importance();
  for (const std::string& path : paths) {
    job.add_read_paths(path);
  }
  task->set_first_path(paths[0]);
  task->set_second_path(paths[1]);
  task->set_formula(formula);
  task->mutable_fractions()->Add(report.fractions.begin(),
                                 report.fractions.end());
  config::WorkerLimits limits;
  limits.set_threads(flags.threads);
  ASSIGN_OR_RETURN(
      const auto worker,
      CreateProcessWorker(
          {.limits = limits, .cancellation = &context.cancellation}));
  cli::ProgressBar bar(context.output);
  ASSIGN_OR_RETURN(const job::Result result,
                   worker->Run(job, [&](const job::Progress& line) {
                     bar.Update(line.stage(), line.fraction(), line.message());
                   }));
  report.layers = OverlapOf(Last(result).compare_importance());
  RETURN_IF_ERROR(WriteOverlapReport(report, flags.output));
  context.output.Print(OverlapTable(report) + "\nwrote " + flags.output,
                       {{"output", flags.output}, {"overlap", ToJson(report)}});
  return absl::OkStatus();
}

}  // namespace tributary::contributor
