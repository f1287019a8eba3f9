#include "coordinator/worker/router_tasks.h"

#include "common/worker/model_tasks.h"
#include "coordinator/routing/ridge.h"
#include "coordinator/routing/tune_router.h"

namespace tributary::coordinator {
namespace {

using worker::TaskContext;

constexpr char kRouterFile[] = "router.safetensors";

Status Ridge(const job::Task& task, const TaskContext& context,
             job::TaskResult* result) {
  const job::SolveRidge& request = task.solve_ridge();
  RidgeOptions options;
  for (const job::RidgeStatistics& input : request.contributions()) {
    options.contributions.push_back({.contribution = input.contribution(),
                                     .statistics_path = input.path()});
  }
  options.public_statistics_path = request.public_statistics_path();
  options.num_layers = request.num_layers();
  options.hidden_size = request.hidden_size();
  options.lambda = worker::Or(request.lambda(), options.lambda);
  options.temperature = worker::Or(request.temperature(), options.temperature);
  options.max_condition =
      worker::Or(request.max_condition(), options.max_condition);
  options.output_path = context.output_directory / kRouterFile;
  options.on_progress = context.reporter();
  ASSIGN_OR_RETURN(const std::vector<RidgeLayer> layers, SolveRidge(options));
  auto* out = result->mutable_solve_ridge();
  out->set_router_path(options.output_path.string());
  for (const RidgeLayer& layer : layers) {
    auto* entry = out->add_layers();
    entry->set_layer(static_cast<int32_t>(layer.layer));
    entry->set_condition(layer.condition);
  }
  return absl::OkStatus();
}

Status Tune(const job::Task& task, const TaskContext& context,
            job::TaskResult* result) {
  const job::TuneRouter& request = task.tune_router();
  TuneOptions options;
  options.model = worker::FromProto(request.model());
  options.public_tokens_path = request.public_tokens_path();
  options.learning_rate =
      worker::Or(request.learning_rate(), options.learning_rate);
  if (request.epochs() > 0) {
    options.epochs = request.epochs();
  }
  if (request.windows_per_domain() > 0) {
    options.windows_per_domain = request.windows_per_domain();
  }
  if (request.has_load_balance()) {
    options.load_balance = request.load_balance();
  }
  if (request.has_z_loss()) {
    options.z_loss = request.z_loss();
  }
  options.top_k = request.top_k();
  options.seed = context.seed;
  options.output_path = context.output_directory / kRouterFile;
  ASSIGN_OR_RETURN(options.load, worker::LoadOptionsFor(context));
  options.on_progress = context.reporter();
  ASSIGN_OR_RETURN(const TuneResult tuned, TuneRouter(options));
  auto* out = result->mutable_tune_router();
  out->set_router_path(options.output_path.string());
  out->set_steps(tuned.steps);
  out->set_first_loss(tuned.first_loss);
  out->set_last_loss(tuned.last_loss);
  for (const ProxyFound& proxy : tuned.proxies) {
    auto* entry = out->add_proxies();
    entry->set_contribution(proxy.contribution);
    entry->set_windows(proxy.windows);
    entry->set_mean_share(proxy.mean_share);
    entry->mutable_classes()->Assign(proxy.classes.begin(),
                                     proxy.classes.end());
  }
  return absl::OkStatus();
}

}  // namespace

void AddRouterTasks(worker::TaskRegistry& registry) {
  registry[job::Task::kSolveRidge] = Ridge;
  registry[job::Task::kTuneRouter] = Tune;
}

}  // namespace tributary::coordinator
