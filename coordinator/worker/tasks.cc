#include "coordinator/worker/tasks.h"

#include "common/worker/model_tasks.h"
#include "coordinator/validation/anchor_statistics.h"
#include "coordinator/validation/evaluate_release.h"
#include "coordinator/validation/validate_expert.h"

namespace tributary::coordinator {
namespace {

using worker::TaskContext;

Status MakeStatistics(const job::Task& task, const TaskContext& context,
                      job::TaskResult* result) {
  const job::AnchorStatistics& request = task.anchor_statistics();
  AnchorStatisticsOptions options;
  options.model_directory = request.model_directory();
  for (const job::TextClass& text : request.classes()) {
    options.classes.push_back(
        {text.name(), {text.paths().begin(), text.paths().end()}});
  }
  options.window_tokens =
      worker::Or<int64_t>(request.window_tokens(), options.window_tokens);
  options.windows_per_class = worker::Or<int64_t>(request.windows_per_class(),
                                                  options.windows_per_class);
  options.heldout_windows =
      worker::Or<int64_t>(request.heldout_windows(), options.heldout_windows);
  options.sample_stride =
      worker::Or<int64_t>(request.sample_stride(), options.sample_stride);
  options.first_layer = request.first_layer();
  options.output_directory = context.output_directory;
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  ASSIGN_OR_RETURN(const AnchorStatisticsResult made,
                   MakeAnchorStatistics(options));
  auto* out = result->mutable_anchor_statistics();
  out->set_tokens_path(made.tokens_path.string());
  out->set_statistics_path(made.statistics_path.string());
  for (const ClassLoss& loss : made.losses) {
    auto* entry = out->add_losses();
    entry->set_label(loss.name);
    entry->set_log_loss(loss.log_loss);
    entry->set_tokens(loss.tokens);
    entry->mutable_window_losses()->Assign(loss.window_losses.begin(),
                                           loss.window_losses.end());
  }
  return absl::OkStatus();
}

ValidationLimits FromProto(const job::AdmissionLimits& message) {
  const ValidationLimits defaults;
  return {
      .max_public_loss_increase = worker::Or(message.max_public_loss_increase(),
                                             defaults.max_public_loss_increase),
      .max_public_share =
          worker::Or(message.max_public_share(), defaults.max_public_share),
      .max_rms_ratio =
          worker::Or(message.max_rms_ratio(), defaults.max_rms_ratio),
      .max_absolute_ratio =
          worker::Or(message.max_absolute_ratio(), defaults.max_absolute_ratio),
      .max_row_norm = worker::Or(message.max_row_norm(), defaults.max_row_norm),
      .max_output_ratio =
          worker::Or(message.max_output_ratio(), defaults.max_output_ratio),
      .max_mean_output_ratio = worker::Or(message.max_mean_output_ratio(),
                                          defaults.max_mean_output_ratio)};
}

Status Validate(const job::Task& task, const TaskContext& context,
                job::TaskResult* result) {
  const job::ValidateExpert& request = task.validate_expert();
  ValidateExpertOptions options;
  options.model_directory = request.model_directory();
  options.expert_path = request.expert_path();
  options.widths.assign(request.widths().begin(), request.widths().end());
  options.public_tokens_path = request.public_tokens_path();
  options.public_statistics_path = request.public_statistics_path();
  options.router_statistics_path = request.router_statistics_path();
  options.limits = FromProto(request.limits());
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  ASSIGN_OR_RETURN(const std::vector<GateResult> gates,
                   ValidateExpert(options));
  for (const GateResult& gate : gates) {
    auto* entry = result->mutable_validate_expert()->add_gates();
    entry->set_name(gate.name);
    entry->set_passed(gate.passed);
    entry->set_detail(gate.detail);
    for (const Measurement& measurement : gate.measurements) {
      auto* value = entry->add_measurements();
      value->set_name(measurement.name);
      value->set_value(measurement.value);
      if (measurement.minimum.has_value()) {
        value->set_minimum(*measurement.minimum);
      }
      if (measurement.maximum.has_value()) {
        value->set_maximum(*measurement.maximum);
      }
    }
  }
  return absl::OkStatus();
}

void AddLoss(const std::string& label, const evaluation::LogLoss& loss,
             job::EvaluationResult* result) {
  auto* entry = result->add_losses();
  entry->set_label(label);
  entry->set_log_loss(loss.mean);
  entry->set_tokens(loss.tokens);
  entry->mutable_window_losses()->Assign(loss.window_means.begin(),
                                         loss.window_means.end());
}

Status Evaluate(const job::Task& task, const TaskContext& context,
                job::TaskResult* result) {
  const job::EvaluateRelease& request = task.evaluate_release();
  EvaluateReleaseOptions options;
  options.anchor_directory = request.anchor_directory();
  options.release = worker::FromProto(request.release());
  options.public_tokens_path = request.public_tokens_path();
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  ASSIGN_OR_RETURN(const ReleaseEvaluation evaluated, EvaluateRelease(options));
  AddLoss("anchor", evaluated.anchor, result->mutable_evaluate_release());
  AddLoss("release", evaluated.release, result->mutable_evaluate_release());
  return absl::OkStatus();
}

}  // namespace

void AddCoordinatorTasks(worker::TaskRegistry& registry) {
  registry[job::Task::kAnchorStatistics] = MakeStatistics;
  registry[job::Task::kValidateExpert] = Validate;
  registry[job::Task::kEvaluateRelease] = Evaluate;
}

}  // namespace tributary::coordinator
