#include "coordinator/commands/config_file.h"

#include "common/base/text.h"
#include "common/config/text_config.h"
#include "common/manifest/resource_name.h"
#include "tributary/config/coordinator.pb.h"

namespace tributary::coordinator {
namespace {

// Quotes a string for the text format.
std::string Quote(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + "\"";
}

// Assigns `value` to `target` unless it is 0, the text format's "not given".
template <typename Value, typename Target>
Status TakeNumber(const char* field, Value value, Target& target) {
  if (value < 0) {
    return InvalidArgument(
        "coordinator.textproto: {}: got {}, wanted 0 (the "
        "default) or more",
        field, value);
  }
  if (value != 0) {
    target = static_cast<Target>(value);
  }
  return absl::OkStatus();
}

Status ReadExperts(const config::ExpertPolicy& policy,
                   ExpertSettings& experts) {
  RETURN_IF_ERROR(TakeNumber("experts.first_layer", policy.first_layer(),
                             experts.first_layer));
  RETURN_IF_ERROR(
      TakeNumber("experts.max_width", policy.max_width(), experts.max_width));
  RETURN_IF_ERROR(TakeNumber("experts.top_k", policy.top_k(), experts.top_k));
  RETURN_IF_ERROR(TakeNumber("experts.window_tokens", policy.window_tokens(),
                             experts.window_tokens));
  RETURN_IF_ERROR(TakeNumber("experts.windows_per_class",
                             policy.windows_per_class(),
                             experts.windows_per_class));
  RETURN_IF_ERROR(TakeNumber("experts.heldout_windows",
                             policy.heldout_windows(),
                             experts.heldout_windows));
  return TakeNumber("experts.sample_stride", policy.sample_stride(),
                    experts.sample_stride);
}

Status ReadAdmission(const config::Admission& from, AdmissionSettings& to) {
  RETURN_IF_ERROR(TakeNumber("admission.max_public_loss_increase",
                             from.max_public_loss_increase(),
                             to.max_public_loss_increase));
  RETURN_IF_ERROR(TakeNumber("admission.max_public_share",
                             from.max_public_share(), to.max_public_share));
  RETURN_IF_ERROR(TakeNumber("admission.max_rms_ratio", from.max_rms_ratio(),
                             to.max_rms_ratio));
  RETURN_IF_ERROR(TakeNumber("admission.max_absolute_ratio",
                             from.max_absolute_ratio(), to.max_absolute_ratio));
  RETURN_IF_ERROR(TakeNumber("admission.max_row_norm", from.max_row_norm(),
                             to.max_row_norm));
  to.require_operator = from.require_operator();
  return absl::OkStatus();
}

Status ReadWorker(const config::WorkerLimits& from, WorkerSettings& to) {
  RETURN_IF_ERROR(TakeNumber("worker.threads", from.threads(), to.threads));
  to.memory_limit_bytes = from.memory_limit_bytes();
  to.cpu_limit_s = from.cpu_limit_s();
  to.compute_lock_file = from.compute_lock_file();
  to.executable = from.executable();
  return absl::OkStatus();
}

}  // namespace

std::string MakeConfigText(const ConfigChoices& choices) {
  std::string hosts;
  for (const std::string& host : choices.public_hosts) {
    hosts += "public_hosts: " + Quote(host) + "\n";
  }
  if (hosts.empty()) {
    hosts = "# public_hosts: \"coordinator.example.org\"\n";
  }
  const std::string lock =
      choices.compute_lock_file.empty()
          ? "  # compute_lock_file: \"/run/lock/tributary-compute\"\n"
          : "  compute_lock_file: " + Quote(choices.compute_lock_file) + "\n";
  return fmt::format(
      R"(# Configuration of a Tributary coordinator (protobuf text format).
# Unknown fields are errors. Restart the server after a change.

# Part of every identity; never change it.
federation: {}
# Where the server listens; port 0 lets the system choose.
listen_address: {}
# Host names and addresses that contributors use. They are in the server's
# certificate, so a change needs a new one.
{}# host:port that invitations carry (default: first public host, port in use).
# public_address: "coordinator.example.org:8443"

# What experts look like; published with the next anchor.
experts {{
  # Experts live in layers from this one on.
  first_layer: {}
  # Highest width (default: the anchor's FFN width).
  # max_width: 1536
  # Experts chosen per token (default 2).
  # top_k: 2
  # Public calibration text: tokens a window (256), windows a class (12),
  # windows of held-out text (16), every n-th token's activations (2).
  # window_tokens: 256
  # windows_per_class: 12
  # heldout_windows: 16
  # sample_stride: 2
}}

# Limits of admission (defaults in comments).
admission {{
  # Rise of public log-loss, nats per token.
  # max_public_loss_increase: 0.05
  # Share of public prose that the router rows may capture.
  # max_public_share: 0.25
  # RMS and largest value of tensors relative to the anchor's.
  # max_rms_ratio: 8
  # max_absolute_ratio: 32
  # max_row_norm: 100
  # An accepted contribution waits for `contribution accept`.
  # require_operator: false
}}

# Per contributor.
quotas {{
  # max_bytes: 8589934592
  # max_contributions: 16
  # Uploads are refused below this much free disk.
  # min_free_disk_bytes: 1073741824
}}

releases {{
  # Build after every acceptance; otherwise `release build` does.
  # build_on_accept: false
  # max_public_loss_increase: 0.05
}}

# How workers run.
worker {{
  # Compute threads (default: all cores).
  # threads: 0
  # Address space in bytes and CPU seconds a job (default: no limit).
  # memory_limit_bytes: 0
  # cpu_limit_s: 0
  # Workers that name the same file run one at a time.
{}}}

# Time between a withdrawal and the purge, such as 72h (default: at once).
# purge_grace: "72h"
)",
      Quote(choices.federation), Quote(choices.listen_address), hosts,
      choices.first_layer, lock);
}

StatusOr<Settings> LoadSettings(const Home& home) {
  config::CoordinatorConfig config;
  if (Status status = config::LoadTextConfig(home.config(), &config);
      absl::IsNotFound(status)) {
    return NotFound(
        "{}: no coordinator home; make one with `tributary-coordinator init`",
        home.root().string());
  } else {
    RETURN_IF_ERROR(status);
  }
  Settings settings;
  RETURN_IF_ERROR(Annotate(manifest::CheckId("federation", config.federation()),
                           "coordinator.textproto"));
  settings.federation = config.federation();
  if (config.listen_address().empty()) {
    return InvalidArgument(
        "coordinator.textproto: listen_address: got nothing, wanted host:port");
  }
  settings.listen_address = config.listen_address();
  settings.public_hosts.assign(config.public_hosts().begin(),
                               config.public_hosts().end());
  settings.public_address = config.public_address();
  RETURN_IF_ERROR(ReadExperts(config.experts(), settings.experts));
  RETURN_IF_ERROR(ReadAdmission(config.admission(), settings.admission));
  RETURN_IF_ERROR(ReadWorker(config.worker(), settings.worker));
  RETURN_IF_ERROR(TakeNumber("quotas.max_bytes", config.quotas().max_bytes(),
                             settings.quotas.max_bytes));
  RETURN_IF_ERROR(TakeNumber("quotas.max_contributions",
                             config.quotas().max_contributions(),
                             settings.quotas.max_contributions));
  RETURN_IF_ERROR(TakeNumber("quotas.min_free_disk_bytes",
                             config.quotas().min_free_disk_bytes(),
                             settings.quotas.min_free_disk_bytes));
  settings.releases.build_on_accept = config.releases().build_on_accept();
  RETURN_IF_ERROR(TakeNumber("releases.max_public_loss_increase",
                             config.releases().max_public_loss_increase(),
                             settings.releases.max_public_loss_increase));
  if (!config.purge_grace().empty()) {
    StatusOr<double> grace = ParseDuration(config.purge_grace());
    RETURN_IF_ERROR(
        Annotate(grace.status(), "coordinator.textproto: purge_grace"));
    settings.purge_grace_s = static_cast<int64_t>(*grace);
  }
  return settings;
}

}  // namespace tributary::coordinator
