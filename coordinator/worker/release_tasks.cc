#include "coordinator/worker/release_tasks.h"

#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/worker/model_tasks.h"
#include "coordinator/evaluation/analyse.h"
#include "coordinator/evaluation/compare_release.h"
#include "coordinator/export/export_gguf.h"
#include "coordinator/export/export_hugging_face.h"
#include "coordinator/export/split_mixture.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using worker::TaskContext;

// A file or folder of that name in the task's output folder.
StatusOr<fs::path> OutputPath(const TaskContext& context,
                              const std::string& text) {
  const fs::path name = text;
  if (name.empty() || name.has_parent_path() || name == "." || name == "..") {
    return InvalidArgument(
        "output_name: got \"{}\", wanted a name without "
        "folders",
        text);
  }
  return context.output_directory / name;
}

// What all exports of a release ask for.
template <typename Options, typename Request>
StatusOr<Options> ExportOptionsFrom(const Request& request,
                                    const TaskContext& context) {
  Options options;
  options.release_directory = request.release_directory();
  ASSIGN_OR_RETURN(options.output, OutputPath(context, request.output_name()));
  options.public_statistics_path = request.public_statistics_path();
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  return options;
}

// What all exports of a release say.
template <typename Options, typename Exported, typename Message>
void SetExported(const Options& options, const Exported& exported,
                 Message* out) {
  out->set_path(options.output.string());
  out->set_experts(exported.experts);
  out->set_padded_width(exported.padded_width);
  out->set_max_logit_difference(exported.max_logit_difference);
  out->set_max_fold_difference(exported.max_fold_difference);
  out->set_compared_tokens(exported.compared_tokens);
}

Status HuggingFace(const job::Task& task, const TaskContext& context,
                   job::TaskResult* result) {
  const job::ExportHuggingFace& request = task.export_hugging_face();
  ASSIGN_OR_RETURN(auto options,
                   ExportOptionsFrom<ExportOptions>(request, context));
  options.shard_bytes = request.shard_bytes();
  options.readme = request.readme();
  ASSIGN_OR_RETURN(const ExportResult exported, ExportHuggingFace(options));
  auto* out = result->mutable_export_hugging_face();
  SetExported(options, exported, out);
  out->set_weight_files(exported.weight_files);
  out->set_weight_bytes(exported.weight_bytes);
  return absl::OkStatus();
}

Status Gguf(const job::Task& task, const TaskContext& context,
            job::TaskResult* result) {
  const job::ExportGguf& request = task.export_gguf();
  ASSIGN_OR_RETURN(auto options,
                   ExportOptionsFrom<GgufExportOptions>(request, context));
  options.name = request.name();
  ASSIGN_OR_RETURN(const GgufExportResult exported, ExportGguf(options));
  auto* out = result->mutable_export_gguf();
  SetExported(options, exported, out);
  out->set_tensors(exported.tensors);
  out->set_file_bytes(exported.file_bytes);
  return absl::OkStatus();
}

Status Analyse(const job::Task& task, const TaskContext& context,
               job::TaskResult* result) {
  const job::AnalyseRouting& request = task.analyse_routing();
  AnalyseOptions options;
  options.model = worker::FromProto(request.model());
  for (const job::TextClass& domain : request.domains()) {
    options.domains.push_back(
        {domain.name(), {domain.paths().begin(), domain.paths().end()}});
  }
  if (options.domains.empty()) {
    return InvalidArgument("domains: wanted at least one text");
  }
  if (request.has_reference()) {
    options.reference = worker::FromProto(request.reference());
  }
  const auto set = [](auto value, auto* target) {
    if (value > 0) {
      *target = value;
    }
  };
  set(request.window_tokens(), &options.window_tokens);
  set(request.max_windows(), &options.max_windows);
  set(request.min_token_count(), &options.min_token_count);
  set(request.importance_fraction(), &options.importance_fraction);
  if (options.importance_fraction > 1) {
    return InvalidArgument("importance_fraction: got {}, wanted at most 1",
                           options.importance_fraction);
  }
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  options.nodes = {.groups = request.node_groups(),
                   .limit = request.node_limit()};
  ASSIGN_OR_RETURN(const Json analysis, AnalyseRouting(options));
  ASSIGN_OR_RETURN(const std::string text, DumpJson(analysis));
  const fs::path path = context.output_directory / "analysis.json";
  RETURN_IF_ERROR(WriteFileAtomic(path, text + "\n"));
  auto* out = result->mutable_analyse_routing();
  out->set_analysis_path(path.string());
  out->set_tokens(analysis["tokens"].get<int64_t>());
  return absl::OkStatus();
}

Status Compare(const job::Task& task, const TaskContext& context,
               job::TaskResult* result) {
  const job::CompareRelease& request = task.compare_release();
  CompareOptions options;
  options.release_directory = request.release_directory();
  for (const job::ComparedText& text : request.texts()) {
    options.texts.push_back({text.name(),
                             {text.paths().begin(), text.paths().end()},
                             text.contribution()});
  }
  const auto set = [](auto value, auto* target) {
    if (value != 0) {
      *target = value;
    }
  };
  set(request.window_tokens(), &options.window_tokens);
  set(request.max_windows(), &options.max_windows);
  set(request.router_epochs(), &options.router_epochs);
  set(request.upcycling_steps(), &options.upcycling_steps);
  set(request.router_learning_rate(), &options.router_learning_rate);
  set(request.upcycling_learning_rate(), &options.upcycling_learning_rate);
  if (options.window_tokens < 2 || options.max_windows < 1) {
    return InvalidArgument(
        "got {} tokens a window and {} windows, wanted at least 2 and 1",
        options.window_tokens, options.max_windows);
  }
  options.public_tokens_path = request.public_tokens_path();
  options.seed = context.seed;
  options.scratch_directory = context.output_directory;
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  ASSIGN_OR_RETURN(const Json comparison, CompareRelease(options));
  ASSIGN_OR_RETURN(const std::string text, DumpJson(comparison));
  const fs::path path = context.output_directory / "comparison.json";
  RETURN_IF_ERROR(WriteFileAtomic(path, text + "\n"));
  auto* out = result->mutable_compare_release();
  out->set_comparison_path(path.string());
  out->set_models(static_cast<int64_t>(comparison["models"].size()));
  out->set_texts(static_cast<int64_t>(comparison["texts"].size()));
  return absl::OkStatus();
}

Status Split(const job::Task& task, const TaskContext& context,
             job::TaskResult* result) {
  const job::SplitMixture& request = task.split_mixture();
  SplitOptions options;
  options.model_directory = request.model_directory();
  ASSIGN_OR_RETURN(options.output, OutputPath(context, request.output_name()));
  options.name = request.name();
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  ASSIGN_OR_RETURN(const SplitResult split, SplitMixture(options));
  auto* out = result->mutable_split_mixture();
  out->set_path(options.output.string());
  out->set_experts(split.experts);
  out->set_max_logit_difference(split.max_logit_difference);
  out->set_compared_tokens(split.compared_tokens);
  out->set_rounded(split.rounded);
  return absl::OkStatus();
}

}  // namespace

void AddReleaseTasks(worker::TaskRegistry& registry) {
  registry[job::Task::kExportHuggingFace] = HuggingFace;
  registry[job::Task::kExportGguf] = Gguf;
  registry[job::Task::kAnalyseRouting] = Analyse;
  registry[job::Task::kCompareRelease] = Compare;
  registry[job::Task::kSplitMixture] = Split;
}

}  // namespace tributary::coordinator
