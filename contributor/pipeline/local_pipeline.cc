#include "contributor/pipeline/local_pipeline.h"

#include "contributor/pipeline/fingerprint.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

constexpr char kImportanceName[] = "l2-of-window-mean-abs";
StatusOr<std::string> TextFingerprint(const config::Data& data) {
  std::vector<fs::path> paths;
  for (const auto& path : data.train()) {
    paths.emplace_back(path);
  }
  for (const auto& path : data.heldout()) {
    paths.emplace_back(path);
  }
  StatusOr<std::string> fingerprint = FingerprintPaths(paths);
  if (absl::IsNotFound(fingerprint.status())) {
    return Annotate(fingerprint.status(),
                    "data.train or data.heldout in contributor.textproto");
  }
  return fingerprint;
}

}  // namespace

AnchorFacts FactsOf(const FetchedAnchor& anchor) {
  const manifest::AnchorManifest& manifest = anchor.manifest;
  return {
      .name = "anchors/" + manifest.name,
      .digest = anchor.digest,
      .directory = anchor.directory.string(),
      .num_layers = manifest.model.num_layers,
      .intermediate_size = manifest.model.intermediate_size,
      .block = manifest.model.block,
      .first_layer = static_cast<int32_t>(manifest.expert_policy.first_layer),
      .max_width = manifest.expert_policy.max_width,
      .top_k = static_cast<int32_t>(manifest.expert_policy.top_k),
      .window_tokens =
          static_cast<int32_t>(manifest.expert_policy.window_tokens),
      .sample_stride =
          static_cast<int32_t>(manifest.expert_policy.sample_stride)};
}

StatusOr<LocalPipeline> LocalPipeline::Create(
    const Home& home, const config::ContributorConfig& config,
    const AnchorFacts& anchor) {
  ASSIGN_OR_RETURN(Settings settings, ResolveSettings(config, anchor));
  ASSIGN_OR_RETURN(const std::string fingerprint,
                   TextFingerprint(settings.data));
  StageStore store(home.Pipeline(settings.contribution));
  LocalPipeline pipeline(std::move(settings), anchor, std::move(store));
  pipeline.stages_ = PlanStages(pipeline.settings_, pipeline.anchor_,
                                pipeline.store_, fingerprint);
  for (Stage& stage : pipeline.stages_) {
    if (stage.name == kPrepareText) {
      stage.job.add_write_paths(home.Tokens().string());
      stage.job.mutable_tasks(0)
          ->mutable_prepare_text()
          ->set_token_cache_directory(home.Tokens().string());
    }
  }
  return pipeline;
}

StatusOr<std::vector<StageState>> LocalPipeline::States() const {
  std::vector<StageState> states;
  bool done = true;
  for (const Stage& stage : stages_) {
    StageState state = StageState::kMissing;
    if (done) {
      ASSIGN_OR_RETURN(state, store_.State(stage));
    }
    done = done && state == StageState::kDone;
    states.push_back(state);
  }
  return states;
}

StatusOr<job::Result> LocalPipeline::RunStage(const Stage& stage,
                                              WorkerRunner& worker,
                                              const StageProgress& progress) {
  const int tasks = stage.job.tasks_size();
  StatusOr<job::Result> result =
      store_.Run(stage, worker, [&](const job::Progress& line) {
        if (progress) {
          progress(stage.name, (line.task() + line.fraction()) / tasks,
                   line.message());
        }
      });
  if (!result.ok()) {
    return Annotate(result.status(), "stage " + stage.name);
  }
  return result;
}

Status LocalPipeline::RunUpTo(std::string_view last, WorkerRunner& worker,
                              const StageProgress& progress) {
  if (FindStage(stages_, last) == nullptr) {
    return NotFound("recipe {} has no stage {}", RecipeName(settings_.recipe),
                    last);
  }
  for (const Stage& stage : stages_) {
    RETURN_IF_ERROR(RunStage(stage, worker, progress).status());
    if (stage.name == last) {
      break;
    }
  }
  return absl::OkStatus();
}

StatusOr<job::Result> LocalPipeline::ResultOf(std::string_view name) const {
  const Stage* stage = FindStage(stages_, name);
  if (stage == nullptr) {
    return NotFound("recipe {} has no stage {}", RecipeName(settings_.recipe),
                    name);
  }
  ASSIGN_OR_RETURN(job::Result result, store_.Result(*stage));
  if (result.tasks_size() != stage->job.tasks_size()) {
    return Internal("stage {}: got {} results, wanted {}", name,
                    result.tasks_size(), stage->job.tasks_size());
  }
  return result;
}

StatusOr<std::vector<MeasuredLoss>> LocalPipeline::Losses() const {
  ASSIGN_OR_RETURN(const job::Result result, ResultOf(kEvaluate));
  return CollectLosses(FindStage(stages_, kEvaluate)->job, result);
}

StatusOr<manifest::ExpertManifest::Method> LocalPipeline::DescribeMethod()
    const {
  const bool distilled = settings_.recipe == Recipe::kPruneAndDistil;
  ASSIGN_OR_RETURN(const job::Result text, ResultOf(kPrepareText));
  ASSIGN_OR_RETURN(const job::Result trained,
                   ResultOf(distilled ? kDistill : kTrain));
  ASSIGN_OR_RETURN(const std::vector<MeasuredLoss> losses, Losses());
  const MeasuredLoss* anchor = FindLoss(losses, "own", "anchor");
  const MeasuredLoss* own = FindLoss(losses, "own", "own");
  if (anchor == nullptr || own == nullptr) {
    return Internal("stage evaluate: no loss of the anchor or the own model");
  }
  const job::TrainResult& training =
      distilled ? trained.tasks(0).distill() : trained.tasks(0).train();
  const job::Optimizer& optimizer = settings_.optimizer;
  manifest::ExpertManifest::Method method;
  method.recipe = distilled ? "prune_and_distil" : "train";
  method.importance = kImportanceName;
  method.router_method = settings_.trains_rows ? "trained"
                         : settings_.router == job::FitRouter::CLOSED_FORM
                             ? "closed_form"
                             : "logistic";
  method.folded = !settings_.trains_rows && !settings_.unfolded_rows;
  method.teacher = distilled ? "own full-width expert" : "";
  method.steps = training.steps();
  method.tokens = text.tasks(0).prepare_text().train_tokens();
  method.documents = text.tasks(0).prepare_text().train_documents();
  method.epochs = optimizer.epochs();
  method.seed = settings_.seed;
  method.learning_rate = optimizer.learning_rate();
  method.train_loss_first = training.first_loss();
  method.train_loss_last = training.last_loss();
  method.heldout_log_loss_anchor = anchor->log_loss;
  method.heldout_log_loss_own = own->log_loss;
  method.text_share = distilled ? settings_.text_share : 1.0;
  method.software = "tributary " TRIBUTARY_VERSION;
  return method;
}

StatusOr<EgressReport> LocalPipeline::MakeReport(const Identity& identity,
                                                 const SiteRules& rules) const {
  EgressInputs inputs;
  inputs.federation = identity.federation;
  inputs.contributor = identity.contributor_id;
  inputs.contribution = settings_.contribution;
  inputs.destination = identity.address;
  inputs.anchor_name = anchor_.name;
  inputs.anchor_digest = anchor_.digest;
  inputs.anchor_directory = anchor_.directory;
  inputs.expert_file = ExpertFile();
  inputs.statistics_file = StatisticsFile();
  inputs.rules = rules;
  inputs.sources.assign(settings_.data.train().begin(),
                        settings_.data.train().end());
  ASSIGN_OR_RETURN(inputs.method, DescribeMethod());
  ASSIGN_OR_RETURN(const std::vector<MeasuredLoss> losses, Losses());
  for (const MeasuredLoss& loss : losses) {
    inputs.losses.push_back({.text_label = loss.text,
                             .model = loss.model,
                             .log_loss = loss.log_loss,
                             .tokens = loss.tokens});
  }
  return BuildEgressReport(inputs);
}

}  // namespace tributary::contributor
