#include "common/model/errors.h"
#include "common/model/load.h"
#include "common/model/runtime.h"
#include "common/worker/model_tasks.h"
#include "contributor/calibration/calibrate.h"
#include "contributor/calibration/fit_router.h"
#include "contributor/data/prepare_text.h"
#include "contributor/worker/evaluate_domain.h"
#include "contributor/worker/formulas.h"
#include "contributor/worker/shared_anchor.h"
#include "contributor/worker/tasks.h"

namespace tributary::contributor {
namespace {

using worker::TaskContext;

constexpr int64_t kDefaultWindowTokens = 256;

std::vector<std::filesystem::path> Paths(
    const google::protobuf::RepeatedPtrField<std::string>& paths) {
  return {paths.begin(), paths.end()};
}

// Reports and asks whether to go on.
std::function<Status(double)> Reporter(const TaskContext& context,
                                       std::string message) {
  return [&context, message](double fraction) {
    context.Report(fraction, message);
    return context.cancellation.Check();
  };
}

Status RunPrepareText(const job::Task& task, const TaskContext& context,
                      job::TaskResult* result) {
  const job::PrepareText& request = task.prepare_text();
  const auto path = context.output_directory / "tokens.safetensors";
  context.Report(0, "reading text");
  ASSIGN_OR_RETURN(
      const PreparedText text,
      PrepareText(
          {.tokenizer_path = std::filesystem::path(request.model_directory()) /
                             "tokenizer.json",
           .train_paths = Paths(request.train_paths()),
           .heldout_paths = Paths(request.heldout_paths()),
           .text_field =
               request.text_field().empty() ? "text" : request.text_field(),
           .window_tokens = worker::Or<int64_t>(request.window_tokens(),
                                                kDefaultWindowTokens),
           .max_train_windows = request.max_train_windows(),
           .max_heldout_windows = request.max_heldout_windows(),
           .max_windows_per_document = request.max_windows_per_document(),
           .packing = request.share_windows()
                          ? PrepareTextOptions::Packing::kShared
                          : PrepareTextOptions::Packing::kNone,
           .min_documents = request.min_documents(),
           .min_tokens = request.min_tokens(),
           .cache_directory = request.token_cache_directory(),
           .max_cache_bytes = worker::Or<uint64_t>(
               request.max_token_cache_bytes(), 8ull << 30),
           .threads = context.threads,
           .report = Reporter(context, "reading text")},
          path));
  auto* message = result->mutable_prepare_text();
  message->set_tokens_path(path);
  message->set_train_documents(text.train_documents);
  message->set_heldout_documents(text.heldout_documents);
  message->set_train_tokens(text.train_tokens);
  message->set_heldout_tokens(text.heldout_tokens);
  message->set_skipped_documents(text.skipped_documents);
  message->set_digest(text.digest);
  message->set_cut_documents(text.cut_documents);
  message->set_tokenised_documents(text.tokenised_documents);
  message->set_cached_documents(text.cached_documents);
  return absl::OkStatus();
}

// The anchor, with the expert whose channels are scored when there is one.
StatusOr<model::CausalLm> CalibratedModel(
    const TaskContext& context, const job::Calibrate& request) {
  ASSIGN_OR_RETURN(model::CausalLm lm,
                   SharedAnchor(context, request.model_directory(), 0));
  if (request.expert_path().empty()) {
    return lm;
  }
  lm.top_k = 2;
  lm.renormalise = model_format::MergedNormTopkProb(lm.config);
  ASSIGN_OR_RETURN(
      model::Expert expert,
      model::LoadExpert(lm.config, request.expert_path(), request.router_path(),
                        {.device = lm.device()}));
  RETURN_IF_ERROR(model::AttachExpert(lm, std::move(expert)));
  return lm;
}

Status RunCalibrate(const job::Task& task, const TaskContext& context,
                    job::TaskResult* result) {
  const job::Calibrate& request = task.calibrate();
  ASSIGN_OR_RETURN(const model::CausalLm lm, CalibratedModel(context, request));
  CalibrateOptions options = {
      .tokens_path = request.tokens_path(),
      .first_layer = request.first_layer(),
      .sample_stride = request.sample_stride(),
      .importance_path = context.output_directory / "importance.safetensors",
      .write_sums = request.write_sums(),
      .router_path = request.router_path(),
      .shard = request.shard(),
      .shards = worker::Or<int64_t>(request.shards(), 1)};
  if (!request.formulas().empty()) {
    options.formulas.clear();
    for (const int formula : request.formulas()) {
      options.formulas.push_back(
          ToFormula(static_cast<job::Calibrate::Formula>(formula)));
    }
  }
  auto* message = result->mutable_calibrate();
  message->set_importance_path(options.importance_path);
  if (request.write_trunk()) {
    options.trunk_path = context.output_directory / "trunk.safetensors";
    message->set_trunk_path(options.trunk_path);
  }
  if (options.sample_stride > 0) {
    options.activations_path =
        context.output_directory / "activations.safetensors";
    message->set_activations_path(options.activations_path);
  }
  if (request.write_second_moments()) {
    options.second_moments_path =
        context.output_directory / "second_moments.safetensors";
    message->set_second_moments_path(options.second_moments_path);
  }
  if (options.trunk_path.empty() && options.activations_path.empty() &&
      options.second_moments_path.empty()) {
    options.resume_path =
        context.output_directory / "importance.partial.safetensors";
  }
  ASSIGN_OR_RETURN(const Calibration calibration, model::CatchTorch([&] {
                     return Calibrate(lm, options,
                                      Reporter(context, "running the model"));
                   }));
  message->set_tokens(calibration.tokens);
  message->set_train_log_loss(calibration.train_log_loss);
  message->set_heldout_log_loss(calibration.heldout_log_loss);
  return absl::OkStatus();
}

Status RunFitRouter(const job::Task& task, const TaskContext& context,
                    job::TaskResult* result) {
  const job::FitRouter& request = task.fit_router();
  RETURN_IF_ERROR(model::PrepareRuntime({.threads = context.threads}).status());
  ASSIGN_OR_RETURN(const auto anchor,
                   model_format::LoadModelConfig(request.model_directory()));
  FitRouterOptions options = {
      .activations_path = request.activations_path(),
      .public_statistics_path = request.public_statistics_path(),
      .first_layer = request.first_layer()};
  DiscriminantOptions& fit = options.discriminant;
  if (request.method() == job::FitRouter::CLOSED_FORM) {
    fit.method = DiscriminantOptions::Method::kClosedForm;
  }
  fit.target = worker::Or(request.target(), fit.target);
  fit.prose_weight = worker::Or(request.prose_weight(), fit.prose_weight);
  fit.l2 = worker::Or(request.l2(), fit.l2);
  fit.ridge = worker::Or(request.ridge(), fit.ridge);
  fit.iterations = worker::Or<int>(request.iterations(), fit.iterations);
  auto* message = result->mutable_fit_router();
  message->set_router_path(context.output_directory / "router.safetensors");
  message->set_unfolded_path(context.output_directory /
                             "router_unfolded.safetensors");
  ASSIGN_OR_RETURN(
      const std::vector<FittedLayer> layers,
      FitRouter(anchor, options, message->router_path(),
                message->unfolded_path(), Reporter(context, "fitting rows")));
  for (const FittedLayer& layer : layers) {
    auto* row = message->add_layers();
    row->set_layer(static_cast<int32_t>(layer.layer));
    row->set_own_share(layer.discriminant.own_share);
    row->set_prose_share(layer.discriminant.prose_share);
    row->set_background_share(layer.discriminant.background_share);
    row->set_fold_error(layer.discriminant.fold_error);
    row->set_row_norm(layer.discriminant.row_norm);
  }
  return absl::OkStatus();
}

Status RunEvaluateDomain(const job::Task& task, const TaskContext& context,
                         job::TaskResult* result) {
  const job::EvaluateDomain& request = task.evaluate_domain();
  EvaluateDomainOptions options = {
      .anchor_directory = request.model_directory(),
      .tokens_path = request.tokens_path(),
      .split = request.split().empty() ? "heldout" : request.split(),
      .trunk_path = request.trunk_path(),
      .first_layer = request.first_layer(),
      .report = Reporter(context, "evaluating")};
  for (const job::LabelledModel& labelled : request.models()) {
    const job::ModelSource& model = labelled.model();
    options.models.push_back({.label = labelled.label(),
                              .directory = model.directory(),
                              .expert_paths = Paths(model.expert_paths()),
                              .router_paths = Paths(model.router_paths()),
                              .top_k = model.top_k(),
                              .force_public = model.force_public()});
  }
  ASSIGN_OR_RETURN(
      const model::CausalLm anchor,
      SharedAnchor(context, request.model_directory(),
                   options.trunk_path.empty() ? 0 : options.first_layer));
  ASSIGN_OR_RETURN(const std::vector<EvaluatedLoss> losses,
                   EvaluateDomain(anchor, options));
  for (const EvaluatedLoss& loss : losses) {
    auto* message = result->mutable_evaluate_domain()->add_losses();
    message->set_label(loss.label);
    message->set_log_loss(loss.log_loss);
    message->set_tokens(loss.tokens);
    message->mutable_window_losses()->Add(loss.window_losses.begin(),
                                          loss.window_losses.end());
  }
  return absl::OkStatus();
}

}  // namespace

void AddStatisticsTasks(worker::TaskRegistry& registry) {
  registry[job::Task::kPrepareText] = RunPrepareText;
  registry[job::Task::kCalibrate] = RunCalibrate;
  registry[job::Task::kFitRouter] = RunFitRouter;
  registry[job::Task::kEvaluateDomain] = RunEvaluateDomain;
}

}  // namespace tributary::contributor
