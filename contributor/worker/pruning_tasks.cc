#include "common/model/errors.h"
#include "contributor/calibration/overlap.h"
#include "contributor/pruning/import_expert.h"
#include "contributor/pruning/prune.h"
#include "contributor/worker/formulas.h"
#include "contributor/worker/measure_widths.h"
#include "contributor/worker/shared_anchor.h"
#include "contributor/worker/tasks.h"

namespace tributary::contributor {
namespace {

using worker::TaskContext;

Ranking ToRanking(job::Prune::Ranking ranking) {
  switch (ranking) {
    case job::Prune::STORED:
      return Ranking::kStored;
    case job::Prune::IMPORTANCE:
      return Ranking::kImportance;
    case job::Prune::RANDOM:
      return Ranking::kRandom;
    default:
      return Ranking::kDefault;
  }
}

// A plain file name, without extension, in the output directory.
StatusOr<std::string> Stem(const TaskContext& context,
                           const std::string& name) {
  const std::filesystem::path file = name.empty() ? "pruned" : name;
  if (file.filename() != file || file == "." || file == "..") {
    return InvalidArgument("output_name: got {}, wanted a plain file name",
                           file.string());
  }
  return (context.output_directory / file).string();
}

// Replaces what was asked for by widths that were measured on held-out text.
Status ChooseByMeasuring(const job::Prune& request, const TaskContext& context,
                         PruneOptions* options, job::PruneResult* result) {
  const bool quality = request.quality_bound() != 0;
  if (request.tokens_path().empty() || request.trunk_path().empty() ||
      request.router_path().empty()) {
    return InvalidArgument(
        "prune: a quality bound is measured on held-out text; wanted "
        "tokens_path, trunk_path and router_path");
  }
  PruneOptions all = *options;
  ASSIGN_OR_RETURN(const std::vector<int64_t> available,
                   AvailableWidths(*options));
  all.request = {.widths = available};
  ASSIGN_OR_RETURN(PrunedExpert expert, Prune(all));
  ASSIGN_OR_RETURN(
      const model::CausalLm anchor,
      SharedAnchor(context, request.model_directory(), request.first_layer()));
  return model::CatchTorch([&]() -> Status {
    ASSIGN_OR_RETURN(
        const MeasureWidths measure,
        MeasurePrefixes(anchor, std::move(expert), request.router_path(),
                        {.tokens_path = request.tokens_path(),
                         .trunk_path = request.trunk_path(),
                         .first_layer = request.first_layer()}));
    int measured = 0;
    const MeasureWidths reporting =
        [&](const model_format::ExpertLayout& layout) -> StatusOr<double> {
      context.Report(0.1 * ++measured, "measuring a width");
      RETURN_IF_ERROR(context.cancellation.Check());
      return measure(layout);
    };
    WidthChoice choice;
    if (quality) {
      ASSIGN_OR_RETURN(choice,
                       SmallestWidth(anchor.config, available,
                                     request.quality_bound(), reporting));
    } else {
      ASSIGN_OR_RETURN(const PrunedExpert planned, Prune(*options));
      ASSIGN_OR_RETURN(choice,
                       CheckAgainstUniform(anchor.config, available,
                                           {planned.widths()}, reporting));
    }
    for (const WidthTrial& trial : choice.trials) {
      auto* message = result->add_trials();
      message->set_label(trial.label);
      message->mutable_widths()->Add(trial.layout.widths.begin(),
                                     trial.layout.widths.end());
      message->set_heldout_log_loss(trial.heldout_log_loss);
    }
    options->request = {.widths = choice.layout.widths};
    return absl::OkStatus();
  });
}

Status RunPrune(const job::Task& task, const TaskContext& context,
                job::TaskResult* result) {
  const job::Prune& request = task.prune();
  ASSIGN_OR_RETURN(const std::string stem,
                   Stem(context, request.output_name()));
  PruneOptions options = {
      .model_directory = request.model_directory(),
      .importance_path = request.importance_path(),
      .formula = FormulaText(request.formula()),
      .expert_path = request.expert_path(),
      .first_layer = request.first_layer(),
      .request = {.widths = {request.widths().begin(), request.widths().end()},
                  .fraction = request.fraction(),
                  .parameter_budget = request.parameter_budget()},
      .max_width = request.max_width(),
      .ranking = ToRanking(request.ranking()),
      .seed = context.seed};
  auto* message = result->mutable_prune();
  const bool quality = request.quality_bound() != 0;
  const bool check =
      request.parameter_budget() != 0 && !request.tokens_path().empty();
  if (quality &&
      (!options.request.widths.empty() || options.request.fraction != 0 ||
       options.request.parameter_budget != 0)) {
    return InvalidArgument(
        "widths: got a quality bound and another kind of width, wanted one");
  }
  if (quality || check) {
    RETURN_IF_ERROR(ChooseByMeasuring(request, context, &options, message));
  }
  context.Report(0.9, "choosing channels");
  ASSIGN_OR_RETURN(
      const PrunedExpert pruned,
      PruneToFile(options, stem + ".safetensors", stem + ".plan.safetensors"));
  message->set_expert_path(stem + ".safetensors");
  const std::vector<int64_t> widths = pruned.widths();
  message->mutable_widths()->Add(widths.begin(), widths.end());
  message->set_parameters(pruned.parameters);
  return absl::OkStatus();
}

Status RunMergeImportance(const job::Task& task, const TaskContext& context,
                          job::TaskResult* result) {
  const auto& paths = task.merge_importance().importance_paths();
  if (paths.empty()) {
    return InvalidArgument("merge: got no importance file");
  }
  ASSIGN_OR_RETURN(ImportanceSums sums, ReadImportanceSums(paths[0]));
  for (int i = 1; i < paths.size(); ++i) {
    ASSIGN_OR_RETURN(const ImportanceSums more, ReadImportanceSums(paths[i]));
    RETURN_IF_ERROR(Annotate(sums.Merge(more), paths[i]));
  }
  const auto path = context.output_directory / "importance.safetensors";
  RETURN_IF_ERROR(WriteImportance(path, sums, {.with_sums = true}));
  result->mutable_merge_importance()->set_importance_path(path);
  result->mutable_merge_importance()->set_tokens(sums.tokens);
  return absl::OkStatus();
}

Status RunCompareImportance(const job::Task& task, const TaskContext&,
                            job::TaskResult* result) {
  const job::CompareImportance& request = task.compare_importance();
  std::vector<double> fractions(request.fractions().begin(),
                                request.fractions().end());
  if (fractions.empty()) {
    fractions = {0.1, 0.17, 0.25, 0.5, 0.75};
  }
  ASSIGN_OR_RETURN(
      const std::vector<LayerOverlap> layers,
      CompareImportance(request.first_path(), request.second_path(), fractions,
                        FormulaText(request.formula())));
  for (const LayerOverlap& layer : layers) {
    auto* message = result->mutable_compare_importance()->add_layers();
    message->set_layer(static_cast<int32_t>(layer.layer));
    message->set_channels(layer.channels);
    message->mutable_tops()->Add(layer.tops.begin(), layer.tops.end());
    message->mutable_common()->Add(layer.common.begin(), layer.common.end());
    message->set_rank_correlation(layer.rank_correlation);
  }
  return absl::OkStatus();
}

Status RunImportExpert(const job::Task& task, const TaskContext& context,
                       job::TaskResult* result) {
  const job::ImportExpert& request = task.import_expert();
  context.Report(0, "comparing with the anchor");
  const auto path = context.output_directory / "imported.safetensors";
  ASSIGN_OR_RETURN(const ImportedExpert imported,
                   ImportExpert({.model_directory = request.model_directory(),
                                 .from_path = request.from_path(),
                                 .expert_index = request.expert_index() == 0
                                                     ? 1
                                                     : request.expert_index()},
                                path));
  auto* message = result->mutable_import_expert();
  message->set_expert_path(path);
  message->mutable_widths()->Add(imported.widths.begin(),
                                 imported.widths.end());
  message->set_compared_tensors(imported.compared_tensors);
  message->set_frozen_digest(imported.frozen_digest);
  return absl::OkStatus();
}

}  // namespace

void AddPruningTasks(worker::TaskRegistry& registry) {
  registry[job::Task::kPrune] = RunPrune;
  registry[job::Task::kMergeImportance] = RunMergeImportance;
  registry[job::Task::kCompareImportance] = RunCompareImportance;
  registry[job::Task::kImportExpert] = RunImportExpert;
}

}  // namespace tributary::contributor
