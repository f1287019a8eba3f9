#include "coordinator/commands/config_file.h"

#include "common/config/commented_text.h"
#include "common/config/defaults.h"
#include "common/config/text_config.h"
#include "tributary/config/coordinator.pb.h"

namespace tributary::coordinator {
namespace {

ExpertSettings ExpertsOf(const config::ExpertPolicy& policy) {
  return {.first_layer = policy.first_layer(),
          .max_width = policy.max_width(),
          .top_k = policy.top_k(),
          .window_tokens = policy.window_tokens(),
          .windows_per_class = policy.windows_per_class(),
          .heldout_windows = policy.heldout_windows(),
          .sample_stride = policy.sample_stride()};
}

AdmissionSettings AdmissionOf(const config::Admission& admission) {
  return {.max_public_loss_increase = admission.max_public_loss_increase(),
          .max_public_share = admission.max_public_share(),
          .max_rms_ratio = admission.max_rms_ratio(),
          .max_absolute_ratio = admission.max_absolute_ratio(),
          .max_row_norm = admission.max_row_norm(),
          .max_output_ratio = admission.max_output_ratio(),
          .max_mean_output_ratio = admission.max_mean_output_ratio(),
          .require_operator = admission.require_operator(),
          .quarantine_above = admission.quarantine_above()};
}

RoutingSettings RoutingOf(const config::Routing& routing) {
  return {.mode = routing.mode(),
          .ridge_lambda = routing.ridge_lambda(),
          .ridge_temperature = routing.ridge_temperature(),
          .ridge_max_condition = routing.ridge_max_condition(),
          .tuned_learning_rate = routing.tuned_learning_rate(),
          .tuned_epochs = routing.tuned_epochs(),
          .tuned_windows_per_domain = routing.tuned_windows_per_domain(),
          .tuned_load_balance = routing.tuned_load_balance(),
          .tuned_z_loss = routing.tuned_z_loss(),
          .tuned_seed = routing.tuned_seed()};
}

WorkerSettings WorkerOf(const config::WorkerLimits& worker) {
  return {.threads = worker.threads(),
          .memory_limit_bytes = worker.memory_limit_bytes(),
          .cpu_limit_s = worker.cpu_limit_s(),
          .stall_limit_s = worker.stall_limit_s(),
          .compute_lock_file = worker.compute_lock_file(),
          .executable = worker.executable(),
          .device = worker.device()};
}

}  // namespace

StatusOr<std::string> MakeConfigText(const ConfigChoices& choices) {
  config::CoordinatorConfig config;
  config.set_federation(choices.federation);
  config.set_listen_address(choices.listen_address);
  for (const std::string& host : choices.public_hosts) {
    config.add_public_hosts(host);
  }
  config.mutable_experts()->set_first_layer(
      static_cast<int32_t>(choices.first_layer));
  if (!choices.compute_lock_file.empty()) {
    config.mutable_worker()->set_compute_lock_file(choices.compute_lock_file);
  }
  ASSIGN_OR_RETURN(const config::CoordinatorConfig completed,
                   config::CompleteConfig(config));
  return config::CommentedText(config, completed);
}

StatusOr<Settings> LoadSettings(const Home& home) {
  config::CoordinatorConfig given;
  const Status loaded = config::LoadTextConfig(home.config(), &given);
  if (absl::IsNotFound(loaded)) {
    return NotFound(
        "{}: no coordinator home; make one with `tributary-coordinator init`",
        home.root().string());
  }
  RETURN_IF_ERROR(loaded);
  StatusOr<config::CoordinatorConfig> config = config::CompleteConfig(given);
  RETURN_IF_ERROR(Annotate(config.status(), home.config().string()));
  Settings settings;
  settings.federation = config->federation();
  settings.listen_address = config->listen_address();
  settings.public_hosts.assign(config->public_hosts().begin(),
                               config->public_hosts().end());
  settings.public_address = config->public_address();
  settings.experts = ExpertsOf(config->experts());
  settings.admission = AdmissionOf(config->admission());
  settings.quotas = {
      .max_bytes = config->quotas().max_bytes(),
      .max_contributions = config->quotas().max_contributions(),
      .min_free_disk_bytes = config->quotas().min_free_disk_bytes()};
  settings.releases = {.build_on_accept = config->releases().build_on_accept(),
                       .max_public_loss_increase =
                           config->releases().max_public_loss_increase()};
  settings.routing = RoutingOf(config->routing());
  settings.worker = WorkerOf(config->worker());
  settings.server = {
      .metrics_address = config->serving().metrics_address(),
      .reflection = config->serving().reflection(),
      .max_streams = static_cast<int>(config->serving().max_streams())};
  ASSIGN_OR_RETURN(const double grace, config::PurgeGraceSeconds(*config));
  settings.purge_grace_s = static_cast<int64_t>(grace);
  return settings;
}

}  // namespace tributary::coordinator
