#include "contributor/pipeline/release_evaluation.h"

#include "common/jobs/job_file.h"
#include "common/manifest/resource_name.h"

namespace tributary::contributor {
namespace {

// What the coordinator is told: numbers with labels.
std::vector<v1::Evaluation> Numbers(const std::vector<MeasuredLoss>& losses,
                                    const std::string& contribution) {
  std::vector<v1::Evaluation> evaluations;
  for (const MeasuredLoss& loss : losses) {
    v1::Evaluation& evaluation = evaluations.emplace_back();
    evaluation.set_text_label(loss.text == "own" ? contribution : loss.text);
    evaluation.set_model(loss.model);
    evaluation.set_log_loss(loss.log_loss);
    evaluation.set_tokens(loss.tokens);
  }
  return evaluations;
}

void AddRows(const job::Result& result, ReleaseEvaluation& evaluation) {
  for (const job::TaskResult& task : result.tasks()) {
    const job::CompareRowsResult& rows = task.compare_rows();
    if (rows.has_mean_best_logit()) {
      evaluation.foreign_logit = rows.mean_best_logit();
    }
    for (const job::ForeignRow& row : rows.rows()) {
      evaluation.foreign_rows.emplace_back(row.contribution(),
                                           row.mean_logit());
    }
  }
}

}  // namespace

double ReleaseEvaluation::MergingLoss() const {
  const MeasuredLoss* own = FindLoss(losses, "own", "own");
  const MeasuredLoss* release = FindLoss(losses, "own", "release");
  return own == nullptr || release == nullptr
             ? 0.0
             : release->log_loss - own->log_loss;
}

std::string WarningsOf(const ReleaseEvaluation& evaluation) {
  std::string text;
  if (const double loss = evaluation.MergingLoss();
      loss > kMergingLossWarning) {
    text += fmt::format(
        "On the own text the release is {:.3f} nats per token behind the own "
        "model: other experts take some of its tokens.\n",
        loss);
  }
  if (evaluation.foreign_logit.value_or(kForeignLogitWarning) >
      kForeignLogitWarning) {
    text += fmt::format(
        "Rows of others claim the own text: the best of them has a mean logit "
        "of {:.2f} there, above {:.0f}; contributions/{} most of all.\n",
        *evaluation.foreign_logit, kForeignLogitWarning,
        evaluation.foreign_rows.empty() ? "?"
                                        : evaluation.foreign_rows[0].first);
  }
  return text;
}

StatusOr<ReleaseEvaluation> EvaluateRelease(const PipelineContext& context,
                                            const std::string& name) {
  ASSIGN_OR_RETURN(const FetchedAnchor anchor,
                   PipelineAnchor(context, AnchorChoice::kStored));
  const AnchorFacts facts = FactsOf(anchor);
  ASSIGN_OR_RETURN(LocalPipeline pipeline,
                   LocalPipeline::Create(context.home, context.config, facts));
  RETURN_IF_ERROR(Annotate(pipeline.ResultOf(kExport).status(),
                           "a release is compared with the own expert"));

  const FetchContext fetch = FetchingFor(context, "fetch_release");
  ASSIGN_OR_RETURN(const FetchedRelease release,
                   FetchRelease(fetch, name, [&](int64_t number) {
                     return context.home.Releases() / std::to_string(number);
                   }));
  if (release.manifest.anchor.digest != anchor.digest) {
    return FailedPrecondition(
        "{} was made for anchor {}, the expert here for {}: run the pipeline "
        "again for the new anchor",
        release.name, release.manifest.anchor.digest, anchor.digest);
  }
  ASSIGN_OR_RETURN(const int64_t number,
                   manifest::ParseReleaseName(release.name));
  ReleaseToEvaluate fetched = {.directory = release.directory.string(),
                               .id = std::to_string(number),
                               .digest = release.digest};
  for (const auto& expert : release.manifest.experts) {
    fetched.contributions.push_back(expert.contribution);
    if (expert.contributor == context.identity.contributor_id) {
      fetched.own.push_back(expert.contribution);
    }
  }
  const Stage stage = PlanReleaseEvaluation(pipeline.settings(), facts,
                                            pipeline.store(), fetched);
  ASSIGN_OR_RETURN(const job::Result result,
                   pipeline.RunStage(stage, context.worker, context.progress));
  ReleaseEvaluation evaluation = {.release = release.name,
                                  .digest = release.digest,
                                  .directory = release.directory.string()};
  // Anchor and own model were measured on the same windows before.
  ASSIGN_OR_RETURN(const std::vector<MeasuredLoss> before, pipeline.Losses());
  ASSIGN_OR_RETURN(const std::vector<MeasuredLoss> merged,
                   CollectLosses(stage.job, result));
  for (const MeasuredLoss& loss : merged) {
    for (const char* model : {"anchor", "own"}) {
      if (const MeasuredLoss* known = FindLoss(before, loss.text, model)) {
        evaluation.losses.push_back(*known);
      }
    }
    evaluation.losses.push_back(loss);
  }
  AddRows(result, evaluation);
  if (context.config.policy().forbid_statistics()) {
    return evaluation;
  }
  RETURN_IF_ERROR(context.client.ReportEvaluation(
      release.name,
      Numbers(evaluation.losses, pipeline.settings().contribution)));
  return evaluation;
}

bool IsEvaluated(const Home& home, const std::string& contribution,
                 int64_t release_number) {
  const StatusOr<job::Result> result =
      jobs::ReadResult(home.Pipeline(contribution) /
                       ("evaluate_release_" + std::to_string(release_number)) /
                       jobs::kResultFileName);
  return result.ok() && result->code() == 0;
}

}  // namespace tributary::contributor
