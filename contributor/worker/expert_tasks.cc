#include "common/model/errors.h"
#include "contributor/budget/machine_memory.h"
#include "contributor/budget/training_memory.h"
#include "contributor/distillation/distill.h"
#include "contributor/export/export_expert.h"
#include "contributor/training/run_shape.h"
#include "contributor/training/train_expert.h"
#include "contributor/worker/shared_anchor.h"
#include "contributor/worker/tasks.h"

namespace tributary::contributor {
namespace {

using worker::TaskContext;

// `name` or the default, as a path in the output directory without extension.
// INVALID_ARGUMENT when it would leave the directory.
StatusOr<std::string> OutputStem(const TaskContext& context,
                                 const std::string& name,
                                 const std::string& otherwise) {
  const std::filesystem::path file = name.empty() ? otherwise : name;
  if (file.filename() != file || file == "." || file == "..") {
    return InvalidArgument("output_name: got {}, wanted a plain file name",
                           file.string());
  }
  return (context.output_directory / file).string();
}

OptimizerOptions ToOptions(const job::Optimizer& optimizer) {
  OptimizerOptions options;
  const auto take = [](auto value, auto* to) {
    if (value != 0) {
      *to = value;
    }
  };
  take(optimizer.learning_rate(), &options.learning_rate);
  take(optimizer.beta1(), &options.beta1);
  take(optimizer.beta2(), &options.beta2);
  take(optimizer.weight_decay(), &options.weight_decay);
  take(optimizer.epochs(), &options.epochs);
  take(optimizer.windows_per_step(), &options.windows_per_step);
  take(optimizer.checkpoint_steps(), &options.checkpoint_steps);
  // Of these 0 means something.
  if (optimizer.has_clip_norm()) {
    options.clip_norm = optimizer.clip_norm();
  }
  if (optimizer.has_warmup_steps()) {
    options.warmup_steps = optimizer.warmup_steps();
  }
  if (optimizer.has_final_fraction()) {
    options.final_fraction = optimizer.final_fraction();
  }
  switch (optimizer.schedule()) {
    case job::Optimizer::CONSTANT:
      options.schedule = Schedule::kConstant;
      break;
    case job::Optimizer::LINEAR:
      options.schedule = Schedule::kLinear;
      break;
    default:
      options.schedule = Schedule::kCosine;
  }
  options.micro_batch_windows = optimizer.micro_batch_windows();
  options.validation_steps = optimizer.validation_steps();
  options.patience = optimizer.patience();
  options.min_improvement = optimizer.min_improvement();
  options.nested_widths = {optimizer.nested_widths().begin(),
                           optimizer.nested_widths().end()};
  return options;
}

TrainerOptions ToTrainer(const job::Optimizer& optimizer,
                         const TaskContext& context, const std::string& stem) {
  return {.optimizer = ToOptions(optimizer),
          .seed = context.seed,
          .recompute_activations = optimizer.recompute_activations(),
          .expert_path = stem + ".safetensors",
          .router_path = stem + ".router.safetensors",
          .checkpoint_path = stem + ".checkpoint.safetensors",
          .best_path = stem + ".best.safetensors",
          .loss_path = stem + ".loss.jsonl",
          .curve_path = stem + ".loss.svg",
          .report = [&context](double fraction, const std::string& message) {
            context.Report(fraction, message);
            return context.cancellation.Check();
          }};
}

at::ScalarType StorageOf(const job::Optimizer& optimizer) {
  return optimizer.frozen_storage() == job::Optimizer::BFLOAT16 ? at::kBFloat16
                                                                : at::kFloat;
}

// Predicts the run's peak memory, says it, and refuses what cannot fit.
// RESOURCE_EXHAUSTED with the numbers.
StatusOr<int64_t> CheckMemory(const InitialExpertOptions& initial,
                              const TrunkFiles& data,
                              const TrainerOptions& trainer,
                              const job::Optimizer& optimizer, bool distils,
                              const TaskContext& context) {
  ASSIGN_OR_RETURN(const TrainingShape shape,
                   ShapeOfRun(initial, data, trainer,
                              {.distils = distils,
                               .frozen_element_bytes = static_cast<int64_t>(
                                   c10::elementSize(StorageOf(optimizer)))}));
  const TrainingMemory memory = PredictTrainingMemory(shape);
  context.Report(0, "predicted peak memory " + memory.ToString());
  const AvailableMemory available = MemoryFor(context.job.memory_limit_bytes());
  RETURN_IF_ERROR(CheckFits(shape, available.bytes, available.name));
  return memory.peak;
}

void Fill(const TrainerOptions& options, const TrainingOutcome& outcome,
          int64_t predicted_peak, job::TrainResult* message) {
  message->set_expert_path(options.expert_path);
  message->set_loss_path(options.loss_path);
  message->set_steps(outcome.steps);
  message->set_tokens(outcome.tokens);
  message->set_first_loss(outcome.first_loss);
  message->set_last_loss(outcome.last_loss);
  message->set_heldout_log_loss(outcome.heldout_log_loss);
  message->set_resumed(outcome.resumed);
  message->set_frozen_digest_before(outcome.frozen_digest_before);
  message->set_frozen_digest_after(outcome.frozen_digest_after);
  message->set_best_step(outcome.best_step);
  message->set_stopped_early(outcome.stopped_early);
  message->set_curve_path(options.curve_path);
  if (options.rows.trained) {
    message->set_router_path(options.router_path);
  }
  message->set_predicted_peak_bytes(predicted_peak);
  message->set_measured_peak_bytes(PeakResidentBytes());
  for (const PrefixLogLoss& prefix : outcome.prefixes) {
    auto* loss = message->add_prefixes();
    loss->set_width(prefix.width);
    loss->set_heldout_log_loss(prefix.log_loss);
  }
}

Status RunTrain(const job::Task& task, const TaskContext& context,
                job::TaskResult* result) {
  const job::Train& request = task.train();
  ASSIGN_OR_RETURN(const std::string stem,
                   OutputStem(context, request.output_name(), "expert"));
  TrainTask options = {
      .initial = {.model_directory = request.model_directory(),
                  .importance_path = request.importance_path(),
                  .initial_path = request.initial_path(),
                  .router_path = request.router_path(),
                  .first_layer = request.first_layer(),
                  .widths = {request.widths().begin(), request.widths().end()}},
      .data = {.tokens_path = request.tokens_path(),
               .trunk_path = request.trunk_path(),
               .first_layer = request.first_layer()},
      .trainer = ToTrainer(request.optimizer(), context, stem)};
  if (request.rows() == job::Train::TRAINED) {
    options.initial.activations_path = request.activations_path();
    options.trainer.rows = {.trained = true, .bias = request.row_bias()};
    if (request.has_z_loss()) {
      options.trainer.rows.z_loss = request.z_loss();
    }
  }
  ASSIGN_OR_RETURN(
      const int64_t predicted,
      CheckMemory(options.initial, options.data, options.trainer,
                  request.optimizer(), /*distils=*/false, context));
  ASSIGN_OR_RETURN(
      const model::CausalLm anchor,
      SharedAnchor(context, request.model_directory(), request.first_layer(),
                   StorageOf(request.optimizer())));
  ASSIGN_OR_RETURN(const TrainingOutcome outcome, model::CatchTorch([&] {
                     return TrainOnText(anchor, options);
                   }));
  Fill(options.trainer, outcome, predicted, result->mutable_train());
  return absl::OkStatus();
}

Status RunDistill(const job::Task& task, const TaskContext& context,
                  job::TaskResult* result) {
  const job::Distill& request = task.distill();
  ASSIGN_OR_RETURN(const std::string stem,
                   OutputStem(context, request.output_name(), "distilled"));
  DistillTask options = {
      .initial = {.model_directory = request.model_directory(),
                  .initial_path = request.initial_path(),
                  .router_path = request.router_path(),
                  .first_layer = request.first_layer()},
      .teacher_path = request.teacher_path(),
      .data = {.tokens_path = request.tokens_path(),
               .trunk_path = request.trunk_path(),
               .first_layer = request.first_layer()},
      .trainer = ToTrainer(request.optimizer(), context, stem),
      .cache_path = stem + ".teacher.safetensors"};
  if (!request.teacher_cache_path().empty()) {
    options.cache_path = request.teacher_cache_path();
    options.cache_is_given = true;
  }
  if (request.form() == job::Distill::RENORMALISED) {
    options.distillation.form = DistillationForm::kRenormalised;
  }
  if (request.has_text_share()) {
    options.distillation.text_share = request.text_share();
  }
  ASSIGN_OR_RETURN(const int64_t predicted,
                   CheckMemory(options.initial, options.data, options.trainer,
                               request.optimizer(), /*distils=*/true, context));
  ASSIGN_OR_RETURN(
      const model::CausalLm anchor,
      SharedAnchor(context, request.model_directory(), request.first_layer(),
                   StorageOf(request.optimizer())));
  ASSIGN_OR_RETURN(const TrainingOutcome outcome,
                   model::CatchTorch([&] { return Distill(anchor, options); }));
  Fill(options.trainer, outcome, predicted, result->mutable_distill());
  return absl::OkStatus();
}

Status RunExport(const job::Task& task, const TaskContext& context,
                 job::TaskResult* result) {
  const job::ExportExpert& request = task.export_expert();
  ASSIGN_OR_RETURN(const std::string stem,
                   OutputStem(context, request.output_name(), "export"));
  ASSIGN_OR_RETURN(const ExportedExpert exported,
                   ExportExpert({.model_directory = request.model_directory(),
                                 .expert_path = request.expert_path(),
                                 .router_path = request.router_path(),
                                 .rank = request.rank()},
                                stem + ".safetensors"));
  auto* message = result->mutable_export_expert();
  message->set_path(stem + ".safetensors");
  message->mutable_widths()->Add(exported.widths.begin(),
                                 exported.widths.end());
  message->set_parameters(exported.parameters);
  message->set_size_bytes(exported.size_bytes);
  return absl::OkStatus();
}

}  // namespace

void AddExpertTasks(worker::TaskRegistry& registry) {
  registry[job::Task::kTrain] = RunTrain;
  registry[job::Task::kDistill] = RunDistill;
  registry[job::Task::kExportExpert] = RunExport;
}

}  // namespace tributary::contributor
