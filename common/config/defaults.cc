#include "common/config/defaults.h"

#include <utility>

#include "common/base/names.h"
#include "common/base/text.h"
#include "common/config/range_checker.h"

namespace tributary::config {
namespace {

constexpr int64_t kMaxCount = 1 << 24;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr double kMaxLoss = 1e3;  // nats per token

// What a field that is 0 or empty stands for. Merging a configuration into
// these overwrites the fields that it sets.
CoordinatorConfig CoordinatorDefaults() {
  CoordinatorConfig config;
  config.set_listen_address("0.0.0.0:8443");
  ExpertPolicy& experts = *config.mutable_experts();
  experts.set_top_k(2);
  experts.set_window_tokens(256);
  experts.set_windows_per_class(12);
  experts.set_heldout_windows(16);
  experts.set_sample_stride(2);
  Admission& admission = *config.mutable_admission();
  admission.set_max_public_loss_increase(0.05);
  admission.set_max_public_share(0.25);
  admission.set_max_rms_ratio(8);
  admission.set_max_absolute_ratio(32);
  admission.set_max_row_norm(100);
  admission.set_max_output_ratio(16);
  admission.set_max_mean_output_ratio(2);
  config.mutable_serving()->set_max_streams(32);
  Quotas& quotas = *config.mutable_quotas();
  quotas.set_max_bytes(8 * kGiB);
  quotas.set_max_contributions(16);
  quotas.set_min_free_disk_bytes(kGiB);
  config.mutable_releases()->set_max_public_loss_increase(0.05);
  config.mutable_worker()->set_stall_limit_s(1800);
  Routing& routing = *config.mutable_routing();
  routing.set_mode("discriminant");
  routing.set_ridge_lambda(1e-3);
  routing.set_ridge_temperature(10);
  routing.set_ridge_max_condition(1e12);
  routing.set_tuned_learning_rate(2e-3);
  routing.set_tuned_epochs(2);
  routing.set_tuned_windows_per_domain(12);
  routing.set_tuned_load_balance(0.01);
  routing.set_tuned_z_loss(1e-3);
  return config;
}

ContributorConfig ContributorDefaults(std::string_view contributor_id) {
  ContributorConfig config;
  config.set_contribution(std::string(contributor_id));
  config.mutable_data()->set_text_field("text");
  Expert& expert = *config.mutable_expert();
  expert.set_recipe(Expert::TRAIN);
  expert.set_router("logistic");
  expert.set_text_share(0.5);
  expert.set_distillation_form("tail");
  Training& training = *config.mutable_training();
  training.set_learning_rate(1e-3);
  training.set_beta1(0.9);
  training.set_beta2(0.95);
  training.set_clip_norm(1);
  training.set_warmup_steps(4);
  training.set_final_fraction(0.1);
  training.set_epochs(2);
  training.set_windows_per_step(1);
  training.set_checkpoint_steps(16);
  training.set_schedule("cosine");
  training.set_frozen_storage("float32");
  SitePolicy& policy = *config.mutable_policy();
  policy.set_approval(SitePolicy::PERSON);
  policy.set_min_documents(8);
  policy.set_min_tokens(2048);
  policy.set_version("1");
  policy.set_required_approvers(1);
  config.mutable_worker();
  return config;
}

void CheckWorker(const WorkerLimits& worker, RangeChecker& check) {
  check.Integer("worker.threads", worker.threads(), 0, 4096);
  check.Require(worker.compute_lock_file().empty() ||
                    worker.compute_lock_file().front() == '/',
                "worker.compute_lock_file", worker.compute_lock_file(),
                "an absolute path");
  check.Require(
      worker.executable().empty() || worker.executable().front() == '/',
      "worker.executable", worker.executable(), "an absolute path");
  check.Require(worker.device().empty() || worker.device() == "cpu" ||
                    worker.device() == "cuda" ||
                    worker.device().starts_with("cuda:"),
                "worker.device", worker.device(), "cpu, cuda or cuda:N");
}

void CheckRouting(const Routing& routing, RangeChecker& check) {
  const std::string& mode = routing.mode();
  check.Require(mode == "discriminant" || mode == "trained" ||
                    mode == "ridge" || mode == "tuned",
                "routing.mode", mode,
                "\"discriminant\", \"trained\", \"ridge\" or \"tuned\"");
  check.Positive("routing.ridge_lambda", routing.ridge_lambda());
  check.Positive("routing.ridge_temperature", routing.ridge_temperature());
  check.Positive("routing.ridge_max_condition", routing.ridge_max_condition());
  check.Positive("routing.tuned_learning_rate", routing.tuned_learning_rate());
  check.Integer("routing.tuned_epochs", routing.tuned_epochs(), 1, 1000);
  check.Integer("routing.tuned_windows_per_domain",
                routing.tuned_windows_per_domain(), 1, kMaxCount);
  check.Number("routing.tuned_load_balance", routing.tuned_load_balance(), 0,
               100);
  check.Number("routing.tuned_z_loss", routing.tuned_z_loss(), 0, 100);
}

void CheckExperts(const ExpertPolicy& experts, RangeChecker& check) {
  check.Integer("experts.first_layer", experts.first_layer(), 0, 1023);
  check.Integer("experts.max_width", experts.max_width(), 0, kMaxCount);
  check.Integer("experts.top_k", experts.top_k(), 1, 1024);
  check.Integer("experts.window_tokens", experts.window_tokens(), 2, kMaxCount);
  check.Integer("experts.windows_per_class", experts.windows_per_class(), 1,
                kMaxCount);
  check.Integer("experts.heldout_windows", experts.heldout_windows(), 1,
                kMaxCount);
  check.Integer("experts.sample_stride", experts.sample_stride(), 1, kMaxCount);
}

void CheckAdmission(const Admission& admission, RangeChecker& check) {
  check.Number("admission.max_public_loss_increase",
               admission.max_public_loss_increase(), 0, kMaxLoss);
  check.Number("admission.max_public_share", admission.max_public_share(), 0,
               1);
  check.Positive("admission.max_rms_ratio", admission.max_rms_ratio());
  check.Positive("admission.max_absolute_ratio",
                 admission.max_absolute_ratio());
  check.Positive("admission.max_row_norm", admission.max_row_norm());
  check.Positive("admission.max_output_ratio", admission.max_output_ratio());
  check.Positive("admission.max_mean_output_ratio",
                 admission.max_mean_output_ratio());
  check.Number("admission.quarantine_above", admission.quarantine_above(), 0,
               1);
}

// A host name or an address without a port.
bool IsHost(const std::string& host) {
  return !host.empty() && host.size() <= 253 &&
         host.find_first_of("/[] \t\r\n") == std::string::npos;
}

void CheckAddresses(const CoordinatorConfig& config, RangeChecker& check) {
  check.Require(ParseHostPort(config.listen_address()).ok(), "listen_address",
                config.listen_address(), "host:port");
  for (int i = 0; i < config.public_hosts_size(); ++i) {
    check.Require(IsHost(config.public_hosts(i)),
                  fmt::format("public_hosts[{}]", i), config.public_hosts(i),
                  "a host name or an IP address without a port");
  }
  const StatusOr<HostPort> address = ParseHostPort(config.public_address());
  check.Require(
      config.public_address().empty() || (address.ok() && address->port != 0),
      "public_address", config.public_address(), "host:port");
}

void CheckServing(const Serving& serving, RangeChecker& check) {
  const StatusOr<HostPort> metrics = ParseHostPort(serving.metrics_address());
  check.Require(
      serving.metrics_address().empty() || (metrics.ok() && metrics->port != 0),
      "serving.metrics_address", serving.metrics_address(),
      "host:port with a port, or nothing");
  check.Integer("serving.max_streams", serving.max_streams(), 1, 10'000);
}

void CheckTraining(const Training& training, RangeChecker& check) {
  check.Positive("training.learning_rate", training.learning_rate());
  check.Number("training.beta1", training.beta1(), 0, 0.999999999);
  check.Number("training.beta2", training.beta2(), 0, 0.999999999);
  check.Number("training.weight_decay", training.weight_decay(), 0, 1e6);
  check.Positive("training.clip_norm", training.clip_norm());
  check.Integer("training.warmup_steps", training.warmup_steps(), 0);
  check.Number("training.final_fraction", training.final_fraction(), 0, 1);
  check.Integer("training.epochs", training.epochs(), 1, 1'000'000);
  check.Integer("training.windows_per_step", training.windows_per_step(), 1,
                kMaxCount);
  check.Integer("training.checkpoint_steps", training.checkpoint_steps(), 1);
  check.Require(training.schedule() == "cosine" ||
                    training.schedule() == "constant" ||
                    training.schedule() == "linear",
                "training.schedule", training.schedule(),
                "\"cosine\", \"constant\" or \"linear\"");
  check.Integer("training.micro_batch_windows", training.micro_batch_windows(),
                0);
  check.Integer("training.validation_steps", training.validation_steps(), 0);
  check.Integer("training.patience", training.patience(), 0);
  check.Require(training.patience() == 0 || training.validation_steps() > 0,
                "training.validation_steps",
                fmt::format("{}", training.validation_steps()),
                "at least 1 where training.patience is set");
  check.Number("training.min_improvement", training.min_improvement(), 0, 1e6);
  for (int i = 0; i < training.nested_widths_size(); ++i) {
    check.Integer(fmt::format("training.nested_widths[{}]", i),
                  training.nested_widths(i), 1, kMaxCount);
  }
  check.Require(training.frozen_storage() == "float32" ||
                    training.frozen_storage() == "bfloat16",
                "training.frozen_storage", training.frozen_storage(),
                "\"float32\" or \"bfloat16\"");
}

void CheckData(const Data& data, RangeChecker& check) {
  const auto check_paths = [&check](std::string_view field, const auto& paths) {
    for (int i = 0; i < paths.size(); ++i) {
      check.Require(!paths.Get(i).empty(), fmt::format("data.{}[{}]", field, i),
                    paths.Get(i), "a path");
    }
  };
  check_paths("train", data.train());
  check_paths("heldout", data.heldout());
  check_paths("public_heldout", data.public_heldout());
  check.Integer("data.window_tokens", data.window_tokens(), 0, kMaxCount);
  check.Integer("data.max_train_windows", data.max_train_windows(), 0);
  check.Integer("data.max_heldout_windows", data.max_heldout_windows(), 0);
  check.Integer("data.max_windows_per_document",
                data.max_windows_per_document(), 0);
}

void CheckExpert(const Expert& expert, RangeChecker& check) {
  check.Integer("expert.width", expert.width(), 0, kMaxCount);
  check.Number("expert.fraction", expert.fraction(), 0, 1);
  check.Integer("expert.parameter_budget", expert.parameter_budget(), 0);
  check.Number("expert.quality_bound", expert.quality_bound(), 0, kMaxLoss);
  check.Integer("expert.rank", expert.rank(), 0, kMaxCount);
  for (const int64_t width : expert.widths()) {
    check.Integer("expert.widths", width, 0, kMaxCount);
  }
  const int kinds = (expert.width() > 0 ? 1 : 0) +
                    (expert.fraction() > 0 ? 1 : 0) +
                    (expert.widths().empty() ? 0 : 1) +
                    (expert.parameter_budget() > 0 ? 1 : 0) +
                    (expert.quality_bound() > 0 ? 1 : 0);
  check.Require(kinds <= 1, "expert.width", fmt::format("{} kinds", kinds),
                "one of width, fraction, widths, parameter_budget and "
                "quality_bound");
  check.Require(
      !(expert.quality_bound() > 0) ||
          expert.recipe() == Expert::PRUNE_AND_DISTIL,
      "expert.quality_bound", fmt::format("{}", expert.quality_bound()),
      "nothing with the recipe TRAIN, which has no teacher to compare with");
  check.Require(expert.recipe() == Expert::TRAIN ||
                    expert.recipe() == Expert::PRUNE_AND_DISTIL,
                "expert.recipe",
                fmt::format("{}", static_cast<int>(expert.recipe())),
                "TRAIN or PRUNE_AND_DISTIL");
  check.Integer("expert.first_layer", expert.first_layer(), 0, 1023);
  check.Require(expert.router() == "logistic" ||
                    expert.router() == "closed_form" ||
                    expert.router() == "trained",
                "expert.router", expert.router(),
                "\"logistic\", \"closed_form\" or \"trained\"");
  check.Number("expert.text_share", expert.text_share(), 0, 1);
  check.Require(expert.distillation_form() == "tail" ||
                    expert.distillation_form() == "renormalised",
                "expert.distillation_form", expert.distillation_form(),
                "\"tail\" or \"renormalised\"");
}

void CheckPolicy(const SitePolicy& policy, RangeChecker& check) {
  check.Require(policy.approval() == SitePolicy::PERSON ||
                    policy.approval() == SitePolicy::AUTOMATIC,
                "policy.approval",
                fmt::format("{}", static_cast<int>(policy.approval())),
                "PERSON or AUTOMATIC");
  check.Integer("policy.min_documents", policy.min_documents(), 1);
  check.Integer("policy.min_tokens", policy.min_tokens(), 1);
  check.Require(policy.version().size() <= 256, "policy.version",
                policy.version(), "at most 256 bytes");
  check.Integer("policy.required_approvers", policy.required_approvers(), 1,
                16);
  check.Require(policy.approver_keys().empty() ||
                    policy.approver_keys_size() >= policy.required_approvers(),
                "policy.approver_keys",
                fmt::format("{} keys", policy.approver_keys_size()),
                "none, or one for each of policy.required_approvers");
  check.Require(
      policy.approval() != SitePolicy::AUTOMATIC ||
          (policy.required_approvers() == 1 && policy.approver_keys().empty()),
      "policy.approval", "AUTOMATIC",
      "PERSON when there are approver_keys or several approvers");
  for (int i = 0; i < policy.approver_keys_size(); ++i) {
    check.Require(policy.approver_keys(i).starts_with('/'),
                  fmt::format("policy.approver_keys[{}]", i),
                  policy.approver_keys(i), "an absolute path");
  }
}

}  // namespace

StatusOr<CoordinatorConfig> CompleteConfig(const CoordinatorConfig& config) {
  CoordinatorConfig completed = CoordinatorDefaults();
  completed.MergeFrom(config);
  RangeChecker check("coordinator configuration");
  check.Require(IsValidName(completed.federation()), "federation",
                completed.federation(), kNameRule);
  CheckAddresses(completed, check);
  CheckExperts(completed.experts(), check);
  CheckAdmission(completed.admission(), check);
  check.Integer("quotas.max_contributions",
                completed.quotas().max_contributions(), 1);
  check.Number("releases.max_public_loss_increase",
               completed.releases().max_public_loss_increase(), 0, kMaxLoss);
  CheckServing(completed.serving(), check);
  CheckRouting(completed.routing(), check);
  CheckWorker(completed.worker(), check);
  check.Require(PurgeGraceSeconds(completed).ok(), "purge_grace",
                completed.purge_grace(),
                "a duration such as 15m, 72h or 30d, or nothing");
  RETURN_IF_ERROR(check.status());
  return completed;
}

StatusOr<ContributorConfig> CompleteConfig(const ContributorConfig& config,
                                           std::string_view contributor_id) {
  ContributorConfig completed = ContributorDefaults(contributor_id);
  completed.MergeFrom(config);
  RangeChecker check("contributor configuration");
  check.Require(IsValidName(completed.contribution()), "contribution",
                completed.contribution(), kNameRule);
  CheckData(completed.data(), check);
  CheckExpert(completed.expert(), check);
  CheckTraining(completed.training(), check);
  CheckPolicy(completed.policy(), check);
  CheckWorker(completed.worker(), check);
  RETURN_IF_ERROR(check.status());
  return completed;
}

Status CheckTrainingData(const ContributorConfig& config) {
  if (config.data().train().empty()) {
    return InvalidArgument(
        "contributor configuration: data.train: got nothing, wanted files or "
        "folders with text; name them in contributor.textproto");
  }
  return absl::OkStatus();
}

StatusOr<double> PurgeGraceSeconds(const CoordinatorConfig& config) {
  return config.purge_grace().empty() ? 0.0
                                      : ParseDuration(config.purge_grace());
}

}  // namespace tributary::config
