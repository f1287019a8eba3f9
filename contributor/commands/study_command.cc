#include <algorithm>
#include <functional>
#include <memory>

#include "common/base/files.h"
#include "common/cli/progress.h"
#include "common/model_format/model_config.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/explicit_importance.h"
#include "contributor/commands/explicit_job.h"
#include "contributor/commands/training_flags.h"
#include "contributor/pipeline/fingerprint.h"
#include "contributor/pipeline/plan.h"
#include "contributor/study/study_report.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

struct StudyFlags {
  StudyOptions study;
  std::vector<std::string> widths = {"75%", "50%", "17%"};
  std::string formula = "window-mean";
  std::string form = "tail";
  std::string compare = "narrowest";
  std::string output;
  std::string until;
  std::string domain_name;
  std::string general_name;
  TrainingFlags training;
  double distil_learning_rate = 0;
  int distil_epochs = 0;
};

// The absolute path of an input. NOT_FOUND names the option.
Status MakeAbsolute(std::string* path, const std::string& option) {
  std::error_code error;
  const fs::path absolute = fs::absolute(*path, error).lexically_normal();
  if (error || path->empty() || !fs::exists(absolute, error)) {
    return NotFound("{}: \"{}\" is not there", option, *path);
  }
  *path = absolute.string();
  return absl::OkStatus();
}

Status MakeAbsolute(std::vector<std::string>* paths,
                    const std::string& option) {
  for (std::string& path : *paths) {
    RETURN_IF_ERROR(MakeAbsolute(&path, option));
  }
  return absl::OkStatus();
}

// "text/german.jsonl" is german.
std::string NameOf(const std::string& given,
                   const std::vector<std::string>& paths,
                   const std::string& otherwise) {
  if (!given.empty()) {
    return given;
  }
  const std::string stem =
      paths.empty() ? "" : fs::path(paths[0]).stem().string();
  return stem.empty() ? otherwise : stem;
}

StatusOr<StudyAnchor> LookAtAnchor(const std::string& directory) {
  ASSIGN_OR_RETURN(const model_format::ModelConfig model,
                   model_format::LoadModelConfig(directory));
  if (model.is_moe()) {
    return InvalidArgument(
        "--model: got a mixture ({}), wanted the dense anchor; a mixture with "
        "the full expert is what --teacher takes",
        model_format::ModelTypeName(model.type));
  }
  return StudyAnchor{
      .num_layers = model.num_layers,
      .hidden_size = model.hidden_size,
      .intermediate_size = model.intermediate_size,
      .has_statistics = FileSize(directory + "/" + kPublicStatistics).ok()};
}

// Fills in what the flags say and checks what can be checked at once.
StatusOr<StudyAnchor> Resolve(StudyFlags* flags) {
  StudyOptions& study = flags->study;
  RETURN_IF_ERROR(MakeAbsolute(&study.model, "--model"));
  RETURN_IF_ERROR(MakeAbsolute(&study.texts, "--text"));
  RETURN_IF_ERROR(MakeAbsolute(&study.general_texts, "--general-text"));
  RETURN_IF_ERROR(MakeAbsolute(&study.heldout, "--heldout"));
  if (!study.teacher.empty()) {
    RETURN_IF_ERROR(MakeAbsolute(&study.teacher, "--teacher"));
  }
  if (!study.router.empty()) {
    RETURN_IF_ERROR(MakeAbsolute(&study.router, "--router"));
  }
  ASSIGN_OR_RETURN(const StudyAnchor anchor, LookAtAnchor(study.model));
  if (study.first_layer < 0 || study.first_layer >= anchor.num_layers) {
    return InvalidArgument("--first-layer: got {}, wanted 0 to {}",
                           study.first_layer, anchor.num_layers - 1);
  }
  for (const std::string& text : flags->widths) {
    ASSIGN_OR_RETURN(const int64_t width,
                     ParseWidth(text, anchor.intermediate_size));
    study.widths.push_back(width);
  }
  std::ranges::sort(study.widths, std::greater<>());
  study.widths.erase(std::unique(study.widths.begin(), study.widths.end()),
                     study.widths.end());
  if (study.widths.empty()) {
    return InvalidArgument("--widths: got nothing, wanted at least one width");
  }
  ASSIGN_OR_RETURN(study.formula, FormulaOf(flags->formula));
  study.form = flags->form == "renormalised" ? job::Distill::RENORMALISED
                                             : job::Distill::TAIL;
  using Compare = StudyOptions::Compare;
  study.compare = flags->compare == "all"         ? Compare::kAll
                  : flags->compare == "narrowest" ? Compare::kNarrowest
                                                  : Compare::kNone;
  study.training = OptimizerOf(flags->training);
  study.distillation = study.training;
  if (flags->distil_learning_rate > 0) {
    study.distillation.set_learning_rate(flags->distil_learning_rate);
  }
  if (flags->distil_epochs > 0) {
    study.distillation.set_epochs(flags->distil_epochs);
  }
  return anchor;
}

StatusOr<std::string> Fingerprint(const StudyOptions& study) {
  std::vector<fs::path> paths = {study.model};
  for (const auto* texts :
       {&study.texts, &study.general_texts, &study.heldout}) {
    paths.insert(paths.end(), texts->begin(), texts->end());
  }
  for (const std::string& path : {study.teacher, study.router}) {
    if (!path.empty()) {
      paths.emplace_back(path);
    }
  }
  return FingerprintPaths(paths);
}

// Runs the stages up to `until` (empty: all). True when all of them are done.
StatusOr<bool> RunStages(const cli::CommandContext& context,
                         const StudyFlags& flags, const StudyPlan& plan,
                         StageStore& store) {
  if (!flags.until.empty() && FindStage(plan.stages, flags.until) == nullptr) {
    std::string names;
    for (const Stage& stage : plan.stages) {
      names += " " + stage.name;
    }
    return InvalidArgument("--until: got {}, wanted one of:{}", flags.until,
                           names);
  }
  config::WorkerLimits limits;
  limits.set_threads(flags.study.threads);
  ASSIGN_OR_RETURN(
      const auto worker,
      CreateProcessWorker(
          {.limits = limits, .cancellation = &context.cancellation}));
  cli::ProgressBar bar(context.output);
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage& stage = plan.stages[i];
    const std::string label =
        fmt::format("{}/{} {}", i + 1, plan.stages.size(), stage.name);
    const int tasks = stage.job.tasks_size();
    const StatusOr<job::Result> result =
        store.Run(stage, *worker, [&](const job::Progress& line) {
          bar.Update(label, (line.task() + line.fraction()) / tasks,
                     line.message());
        });
    if (!result.ok()) {
      return Annotate(result.status(), "stage " + stage.name);
    }
    if (stage.name == flags.until) {
      return i + 1 == plan.stages.size();
    }
  }
  return true;
}

Status RunStudy(const cli::CommandContext& context, StudyFlags flags) {
  ASSIGN_OR_RETURN(const StudyAnchor anchor, Resolve(&flags));
  const StudyOptions& study = flags.study;
  ASSIGN_OR_RETURN(const std::string fingerprint, Fingerprint(study));
  std::error_code error;
  const fs::path output = fs::absolute(flags.output, error).lexically_normal();
  RETURN_IF_ERROR(MakeDirectories(output));
  const StatusOr<FileLock> lock = FileLock::TryAcquire(output / "lock");
  if (!lock.ok()) {
    return Annotate(lock.status(), "another study works on " + output.string());
  }
  const fs::path rows = output / "zero_router.safetensors";
  if (!FileSize(rows).ok()) {
    RETURN_IF_ERROR(
        WriteZeroRouter(rows, anchor.num_layers, anchor.hidden_size));
  }
  StageStore store(output / "stages");
  const StudyPlan plan = PlanStudy(study, anchor, store, fingerprint, rows);
  ASSIGN_OR_RETURN(const bool finished, RunStages(context, flags, plan, store));
  if (!finished) {
    context.output.Print("stage " + flags.until + " is done",
                         {{"stage", flags.until}, {"output", output.string()}});
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const StudyResults results,
                   CollectStudy(plan, store, anchor.intermediate_size));
  RETURN_IF_ERROR(WriteStudyReport(
      results,
      {.domain = NameOf(flags.domain_name, study.texts, "own text"),
       .general =
           NameOf(flags.general_name, study.general_texts, "general text")},
      output));
  nlohmann::json value = ToJson(results);
  value["output"] = output.string();
  context.output.Print(StudyTable(results) +
                           "\nreport: " + (output / "index.html").string() +
                           "\nexperts: " + store.Folder(kStudyExport).string(),
                       value);
  return absl::OkStatus();
}

}  // namespace

void AddStudyCommand(cli::CommandLine& line) {
  auto flags = std::make_shared<StudyFlags>();
  CLI::App* command = line.AddCommand(
      line.app(), "study",
      "Width pruning and distillation of a full expert: how much of its gain "
      "narrower ones keep",
      [flags](const cli::CommandContext& context) {
        return RunStudy(context, *flags);
      });
  StudyOptions& study = flags->study;
  command->add_option("--model", study.model, "The anchor's directory")
      ->required();
  command
      ->add_option("--text", study.texts,
                   "The expert's own text, file or folder (repeatable)")
      ->required();
  command
      ->add_option("--general-text", study.general_texts,
                   "General text to compare calibration with (repeatable)")
      ->required();
  command->add_option("--heldout", study.heldout,
                      "Held-out own text (repeatable); none: split off");
  command
      ->add_option("--output", flags->output,
                   "Folder of the study; an interrupted one is continued")
      ->required();
  command
      ->add_option("--widths", flags->widths,
                   "Channels or shares of the anchor's FFN")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--teacher", study.teacher,
                      "Full expert, a file or a mixture's directory (default: "
                      "trained on the text)");
  command
      ->add_option("--expert-index", study.expert_index,
                   "Which expert of a directory")
      ->capture_default_str();
  command->add_option("--router", study.router,
                      "Router rows (default: the teacher's, or fitted with "
                      "the model's public statistics, or zeros)");
  command->add_option("--first-layer", study.first_layer,
                      "Experts live in layers from this one on");
  command->add_option("--formula", flags->formula, "How channels are scored")
      ->check(CLI::IsMember({"window-mean", "wanda", "reap", "taylor"}))
      ->capture_default_str();
  command
      ->add_option("--compare", flags->compare,
                   "Which widths by general calibration are distilled too")
      ->check(CLI::IsMember({"none", "narrowest", "all"}))
      ->capture_default_str();
  command->add_option("--form", flags->form, "Form of the distillation loss")
      ->check(CLI::IsMember({"tail", "renormalised"}))
      ->capture_default_str();
  command
      ->add_option("--text-share", study.text_share,
                   "Share of the text's own cross-entropy in distillation")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--distil-learning-rate", flags->distil_learning_rate,
                      "Of distillation (default: as the teacher's)");
  command->add_option("--distil-epochs", flags->distil_epochs,
                      "Of distillation (default: as the teacher's)");
  DeclareTrainingFlags(command, flags->training);
  command->add_option("--text-field", study.text_field,
                      "Field of .jsonl lines that holds the text");
  command
      ->add_option("--window-tokens", study.window_tokens, "Tokens of a window")
      ->capture_default_str();
  command->add_option("--max-windows", study.max_windows,
                      "At most this many training windows of each text");
  command->add_option("--max-windows-per-document",
                      study.max_windows_per_document,
                      "At most this many windows of a document");
  command->add_option("--domain-name", flags->domain_name,
                      "Name of the own text in the report");
  command->add_option("--general-name", flags->general_name,
                      "Name of the general text in the report");
  command->add_option("--until", flags->until,
                      "Stop behind this stage; the same command goes on");
  command->add_option("--seed", study.seed, "Seed of every random choice");
  command->add_option("--threads", study.threads,
                      "Compute threads (default: all cores)");
  command->add_option("--device", study.device, "cpu, cuda or cuda:N")
      ->capture_default_str();
}

}  // namespace tributary::contributor
