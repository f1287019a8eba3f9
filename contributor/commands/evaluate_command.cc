#include <memory>

#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/commands/explicit_stage.h"
#include "contributor/pipeline/release_evaluation.h"

namespace tributary::contributor {
namespace {

struct EvaluateOptions {
  std::string release;
  std::string retry_for = kShortRetry;
  ExplicitEvaluation files;
};

// Nats per token from which a person is told what merging costs.
constexpr double kWorthMentioning = 0.05;

// Log-loss of the release above that of the own model, on the own text.
double MergingLoss(const std::vector<MeasuredLoss>& losses) {
  const MeasuredLoss* own = FindLoss(losses, "own", "own");
  const MeasuredLoss* release = FindLoss(losses, "own", "release");
  return own == nullptr || release == nullptr
             ? 0.0
             : release->log_loss - own->log_loss;
}

// "latest", a number or a full name.
std::string ReleaseResource(const std::string& name) {
  return name.rfind("releases/", 0) == 0 ? name : "releases/" + name;
}

Status EvaluatePipeline(const cli::CommandContext& context,
                        const EvaluateOptions& options) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, options.retry_for));
  ASSIGN_OR_RETURN(const FileLock lock,
                   LockHome(session->home(), context.cancellation));
  cli::ProgressBar bar(context.output);
  const PipelineContext pipeline_context = session->Context(ProgressOn(bar));
  if (!options.release.empty()) {
    ASSIGN_OR_RETURN(
        const ReleaseEvaluation evaluation,
        EvaluateRelease(pipeline_context, ReleaseResource(options.release)));
    const double merging_loss = MergingLoss(evaluation.losses);
    std::string text =
        fmt::format("{} on the held-out text of {}\n{}", evaluation.release,
                    session->contribution(), LossTable(evaluation.losses));
    if (merging_loss > kWorthMentioning) {
      text += fmt::format(
          "\nOn the own text the release is {:.3f} nats per token behind the "
          "own model: other experts take some of its tokens.",
          merging_loss);
    }
    context.output.Print(
        text, {{"contribution", session->contribution()},
               {"release", evaluation.release},
               {"digest", evaluation.digest},
               {"directory", evaluation.directory},
               {"release_minus_own", merging_loss},
               {"losses", ToJson(evaluation.losses, session->contribution())}});
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const FetchedAnchor anchor,
                   PipelineAnchor(pipeline_context, AnchorChoice::kStored));
  ASSIGN_OR_RETURN(LocalPipeline pipeline,
                   LocalPipeline::Create(session->home(), session->config(),
                                         FactsOf(anchor)));
  RETURN_IF_ERROR(pipeline.RunUpTo(kEvaluate, pipeline_context.worker,
                                   pipeline_context.progress));
  ASSIGN_OR_RETURN(const std::vector<MeasuredLoss> losses, pipeline.Losses());
  context.output.Print(LossTable(losses),
                       {{"contribution", session->contribution()},
                        {"release", nullptr},
                        {"losses", ToJson(losses, session->contribution())}});
  return absl::OkStatus();
}

}  // namespace

void AddEvaluateCommand(cli::CommandLine& line) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* command = line.AddCommand(
      line.app(), "evaluate",
      "Log-loss of anchor, own expert and a release on held-out text; of a "
      "release the numbers are reported",
      [options](const cli::CommandContext& context) -> Status {
        return options->files.model.empty()
                   ? EvaluatePipeline(context, *options)
                   : RunExplicitEvaluation(context, options->files);
      });
  command->add_option("--release", options->release,
                      "Number of a release, or latest");
  command->add_option("--model", options->files.model,
                      "Use explicit files: the anchor's directory");
  command->add_option("--expert", options->files.experts,
                      "With --model: expert file (repeatable)");
  command->add_option("--text", options->files.texts,
                      "With --model: text file or folder (repeatable)");
  command->add_option("--threads", options->files.threads,
                      "With --model: compute threads");
  DeclareRetry(*command, options->retry_for);
}

}  // namespace tributary::contributor
