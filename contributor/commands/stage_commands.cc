#include <functional>
#include <memory>

#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/commands/explicit_importance.h"
#include "contributor/commands/explicit_stage.h"
#include "google/protobuf/util/json_util.h"

namespace tributary::contributor {
namespace {

using ExplicitFunction =
    std::function<Status(const cli::CommandContext&, const ExplicitOptions&)>;

const std::vector<std::string> kFormulas = {"window-mean", "wanda", "reap",
                                            "taylor"};

struct StageOptions {
  std::string retry_for = kShortRetry;
  ExplicitOptions files;
};

// The result message of a stage as JSON.
StatusOr<nlohmann::json> ResultJson(const job::Result& result) {
  google::protobuf::util::JsonPrintOptions print;
  print.preserve_proto_field_names = true;
  print.always_print_primitive_fields = true;
  std::string text;
  const auto printed =
      google::protobuf::util::MessageToJsonString(result, &text, print);
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (!printed.ok() || value.is_discarded()) {
    return Internal("the stage's result cannot be printed");
  }
  return value;
}

// Runs what is missing up to this stage of the home's pipeline.
Status RunOnPipeline(const cli::CommandContext& context,
                     const StageOptions& options, const std::string& stage) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, options.retry_for));
  // What is made here cannot be sent before that is mended.
  if (const Status ended =
          CheckNotExpired(session->identity().certificate, SystemClock());
      !ended.ok()) {
    context.output.Note("warning: " + std::string(ended.message()));
  }
  ASSIGN_OR_RETURN(const FileLock lock,
                   LockHome(session->home(), context.cancellation));
  cli::ProgressBar bar(context.output);
  const PipelineContext pipeline_context = session->Context(ProgressOn(bar));
  ASSIGN_OR_RETURN(const FetchedAnchor anchor,
                   PipelineAnchor(pipeline_context, AnchorChoice::kStored));
  ASSIGN_OR_RETURN(LocalPipeline pipeline,
                   LocalPipeline::Create(session->home(), session->config(),
                                         FactsOf(anchor)));
  // The report needs the measurements that follow the export.
  const bool is_export = stage == kExport;
  RETURN_IF_ERROR(pipeline.RunUpTo(is_export ? kEvaluate : stage,
                                   pipeline_context.worker,
                                   pipeline_context.progress));
  std::string text = fmt::format("stage {} is done: {}", stage,
                                 pipeline.store().Folder(stage).string());
  if (is_export) {
    RETURN_IF_ERROR(PrepareEgress(pipeline_context, pipeline));
    text += "\nwhat would leave: tributary-contributor egress show";
  }
  ASSIGN_OR_RETURN(const job::Result result, pipeline.ResultOf(stage));
  ASSIGN_OR_RETURN(nlohmann::json value, ResultJson(result));
  context.output.Print(text,
                       {{"stage", stage},
                        {"folder", pipeline.store().Folder(stage).string()},
                        {"result", std::move(value)}});
  return absl::OkStatus();
}

struct StageCommand {
  std::string name;
  std::string description;
  std::string stage;
  ExplicitFunction on_files;
};

CLI::App* AddStage(cli::CommandLine& line, const StageCommand& stage,
                   const std::shared_ptr<StageOptions>& options) {
  CLI::App* command = line.AddCommand(
      line.app(), stage.name, stage.description,
      [stage, options](const cli::CommandContext& context) {
        return options->files.model.empty()
                   ? RunOnPipeline(context, *options, stage.stage)
                   : stage.on_files(context, options->files);
      });
  ExplicitOptions& files = options->files;
  command->add_option("--model", files.model,
                      "Work on explicit files: the anchor's directory. Without "
                      "it the stage runs on the home's pipeline");
  command->add_option("--output", files.output, "File to write");
  command->add_option("--first-layer", files.first_layer,
                      "Experts live in layers from this one on");
  command->add_option("--seed", files.seed, "Seed of training");
  command->add_option("--threads", files.threads,
                      "Compute threads (default: all cores)");
  command->add_option("--device", files.device, "cpu, cuda or cuda:N")
      ->capture_default_str();
  DeclareRetry(*command, options->retry_for);
  return command;
}

void DeclareText(CLI::App* command, ExplicitOptions& files) {
  command->add_option("--text", files.texts,
                      "Text file or folder (repeatable)");
  command->add_option("--heldout", files.heldout,
                      "Held-out text (repeatable); none: split off");
  command->add_option("--text-field", files.text_field,
                      "Field of .jsonl lines that holds the text");
  command
      ->add_option("--window-tokens", files.window_tokens, "Tokens of a window")
      ->capture_default_str();
  command->add_flag("--share-windows", files.share_windows,
                    "Short documents share windows; attention stays within "
                    "documents");
}

void DeclareTraining(CLI::App* command, ExplicitOptions& files) {
  DeclareText(command, files);
  command->add_option("--width", files.width, "Channels of the expert");
  command->add_option("--router", files.router,
                      "Router rows (default: fitted with the model's public "
                      "statistics)");
  command->add_option("--initial", files.initial, "Expert to start from");
  DeclareTrainingFlags(command, files.training);
}

CLI::App* DeclareFormula(CLI::App* command, std::string& formula) {
  command
      ->add_option("--formula", formula,
                   "Scores by this formula (default: the first of the file)")
      ->check(CLI::IsMember(kFormulas));
  return command;
}

void AddCalibrate(cli::CommandLine& line) {
  auto options = std::make_shared<StageOptions>();
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* command = AddStage(
      line,
      {"calibrate",
       "Importance of the anchor's or an expert's channels on text or token "
       "ids",
       kCalibrate,
       [flags](const cli::CommandContext& context,
               const ExplicitOptions& files) {
         return RunExplicitCalibrate(context, files, *flags);
       }},
      options);
  DeclareText(command, options->files);
  command->add_option("--input", options->files.input,
                      "safetensors with input_ids int64 [B, S]");
  command->add_option("--expert", options->files.expert,
                      "Score the channels of this expert beside the anchor");
  command->add_option("--router", options->files.router,
                      "Rows of the expert (default: its own); without an "
                      "expert the weights of reap");
  command
      ->add_option("--formula", flags->formulas,
                   "How channels are scored (repeatable; default window-mean)")
      ->delimiter(',')
      ->check(CLI::IsMember(kFormulas));
  command->add_flag("--sums", flags->sums,
                    "Put the exact sums into the file, for --merge");
  command->add_option("--shard", flags->shard,
                      "Take one part of the text, such as 0/4; implies --sums");
  command->add_option("--merge", flags->merge,
                      "Add up importance files with sums (repeatable) instead "
                      "of running the model");
  command->add_flag("--second-moments", flags->second_moments,
                    "Write OUTPUT.second_moments.safetensors: sums of x x^T "
                    "and x over the inputs of every layer");
}

void AddPrune(cli::CommandLine& line) {
  auto options = std::make_shared<StageOptions>();
  auto flags = std::make_shared<PruneFlags>();
  CLI::App* command =
      AddStage(line,
               {"prune", "Keep the most important channels", kPrune,
                [flags](const cli::CommandContext& context,
                        const ExplicitOptions& files) {
                  return RunExplicitPrune(context, files, *flags);
                }},
               options);
  ExplicitOptions& files = options->files;
  DeclareText(command, files);
  command->add_option("--importance", files.importance,
                      "Scores of what is pruned, written by calibrate");
  DeclareFormula(command, flags->formula);
  command->add_option("--expert", files.expert,
                      "Expert to prune (default: the anchor's own FFN)");
  command->add_option("--router", files.router,
                      "Router rows (default: the expert's, or zeros, half of "
                      "every token)");
  command
      ->add_option("--ranking", flags->ranking,
                   "Which channels come first (default: by importance where "
                   "it is given, as they are stored otherwise)")
      ->check(CLI::IsMember({"importance", "stored", "random"}));
  command->add_option("--width", files.width, "Channels of each layer");
  command
      ->add_option("--widths", flags->widths,
                   "Channels of every layer of the model, one by one")
      ->delimiter(',');
  command->add_option("--fraction", files.fraction,
                      "Share of the channels of each layer");
  command->add_option("--auto", files.budget,
                      "Parameters of the expert, spread over layers by score; "
                      "with --text only if that is no worse than equal widths");
  command->add_option("--quality", flags->quality,
                      "The smallest width whose held-out log-loss is at most "
                      "this far above that of all channels");
}

void AddImport(cli::CommandLine& line) {
  auto options = std::make_shared<ExplicitOptions>();
  auto flags = std::make_shared<ImportFlags>();
  CLI::App* command = line.AddCommand(
      line.app(), "import",
      "Take an existing expert from an expert file or a mixture's directory",
      [options, flags](const cli::CommandContext& context) {
        return RunExplicitImport(context, *options, *flags);
      });
  command->add_option("--model", options->model, "The anchor's directory")
      ->required();
  command
      ->add_option("--from", flags->from,
                   "Expert file, or mixtral or flex_olmo directory whose "
                   "expert 0 is the anchor's FFN")
      ->required();
  command
      ->add_option("--expert-index", flags->expert_index,
                   "Which expert of a directory")
      ->capture_default_str();
  command->add_option("--output", options->output, "File to write")->required();
  command->add_option("--threads", options->threads,
                      "Compute threads (default: all cores)");
}

void AddOverlap(cli::CommandLine& line) {
  auto flags = std::make_shared<OverlapFlags>();
  flags->tops = {0.1, 0.25, 0.5, 0.75};
  CLI::App* command = line.AddCommand(
      line.app(), "overlap",
      "How many of the most important channels two importance files have in "
      "common",
      [flags](const cli::CommandContext& context) {
        return RunExplicitOverlap(context, *flags);
      });
  command
      ->add_option("--importance", flags->importance,
                   "File written by calibrate (twice)")
      ->required();
  command
      ->add_option("--top", flags->tops,
                   "Shares of the channels that count as the top")
      ->delimiter(',')
      ->capture_default_str();
  DeclareFormula(command, flags->formula);
  command
      ->add_option("--output", flags->output,
                   "Folder for overlap.json, overlap.txt and pictures")
      ->required();
}

}  // namespace

void AddStageCommands(cli::CommandLine& line) {
  AddCalibrate(line);

  auto train = std::make_shared<StageOptions>();
  CLI::App* command =
      AddStage(line,
               {"train", "Train an expert beside the anchor on text", kTrain,
                RunExplicitTrain},
               train);
  DeclareTraining(command, train->files);
  DeclareRowFlags(command, train->files.rows);

  AddPrune(line);

  auto distill = std::make_shared<StageOptions>();
  command = AddStage(line,
                     {"distill",
                      "Train a narrow expert towards a full-width "
                      "one",
                      kDistill, RunExplicitDistill},
                     distill);
  DeclareTraining(command, distill->files);
  command->add_option("--teacher", distill->files.teacher,
                      "The full-width expert");
  command->add_option("--form", distill->files.form, "Form of the loss")
      ->check(CLI::IsMember({"tail", "renormalised"}))
      ->capture_default_str();
  command
      ->add_option("--text-share", distill->files.text_share,
                   "Share of the text's own cross-entropy")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();

  auto exporting = std::make_shared<StageOptions>();
  command = AddStage(line,
                     {"export",
                      "Write the expert file as it is uploaded, and "
                      "its egress report",
                      kExport, RunExplicitExport},
                     exporting);
  command->add_option("--expert", exporting->files.expert,
                      "Expert with or without rows");
  command->add_option("--router", exporting->files.router,
                      "Router rows (default: those of the expert)");
  command
      ->add_option("--rank", exporting->files.rank,
                   "Write layers of the anchor's width as differences of this "
                   "rank to the anchor's network")
      ->check(CLI::PositiveNumber);
  AddImport(line);
  AddOverlap(line);
}

}  // namespace tributary::contributor
