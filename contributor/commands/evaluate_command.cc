#include <memory>
#include <nlohmann/json.hpp>

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

// Foreign rows by their mean logit on the own text.
nlohmann::json ForeignRows(const ReleaseEvaluation& evaluation) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& [contribution, logit] : evaluation.foreign_rows) {
    rows.push_back({{"contribution", contribution}, {"mean_logit", logit}});
  }
  return {{"mean_best_logit", evaluation.foreign_logit
                                  ? nlohmann::json(*evaluation.foreign_logit)
                                  : nlohmann::json(nullptr)},
          {"rows", std::move(rows)}};
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
  if (!options.release.empty()) {
    const auto evaluate = [&] {
      return EvaluateRelease(session->Context(ProgressOn(bar)),
                             ReleaseResource(options.release));
    };
    StatusOr<ReleaseEvaluation> evaluated = evaluate();
    if (session->LearnedTrustAfter(evaluated.status())) {
      evaluated = evaluate();
    }
    ASSIGN_OR_RETURN(const ReleaseEvaluation evaluation, std::move(evaluated));
    std::string text =
        fmt::format("{} on the held-out text of {}\n{}", evaluation.release,
                    session->contribution(), LossTable(evaluation.losses));
    if (evaluation.foreign_logit) {
      text +=
          fmt::format("\nBest row of others on the own text: mean logit {:.2f}",
                      *evaluation.foreign_logit);
    }
    if (const std::string warnings = WarningsOf(evaluation);
        !warnings.empty()) {
      text += "\n" + warnings;
    }
    context.output.Print(
        text, {{"contribution", session->contribution()},
               {"release", evaluation.release},
               {"digest", evaluation.digest},
               {"directory", evaluation.directory},
               {"release_minus_own", evaluation.MergingLoss()},
               {"foreign_rows", ForeignRows(evaluation)},
               {"losses", ToJson(evaluation.losses, session->contribution())}});
    return absl::OkStatus();
  }
  const PipelineContext pipeline_context = session->Context(ProgressOn(bar));
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
