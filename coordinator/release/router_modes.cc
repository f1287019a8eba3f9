#include "coordinator/release/router_modes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"

namespace tributary::coordinator {
namespace {

constexpr char kPublicStatistics[] = "public/statistics.safetensors";
constexpr char kPublicTokens[] = "public/tokens.safetensors";

void FillRidge(const RouterMaterial& material, const RoutingSettings& settings,
               job::SolveRidge* task) {
  for (size_t i = 0; i < material.contributions.size(); ++i) {
    job::RidgeStatistics* input = task->add_contributions();
    input->set_contribution(material.contributions[i]);
    input->set_path(material.statistics[i].string());
  }
  task->set_public_statistics_path(
      (material.anchor / kPublicStatistics).string());
  task->set_num_layers(material.num_layers);
  task->set_hidden_size(material.hidden_size);
  task->set_lambda(settings.ridge_lambda);
  task->set_temperature(settings.ridge_temperature);
  task->set_max_condition(settings.ridge_max_condition);
}

void FillTuned(const RouterMaterial& material, const RoutingSettings& settings,
               job::TuneRouter* task) {
  task->mutable_model()->set_directory(material.anchor.string());
  for (const std::filesystem::path& expert : material.experts) {
    task->mutable_model()->add_expert_paths(expert.string());
  }
  task->mutable_model()->set_top_k(static_cast<int32_t>(material.top_k));
  task->set_public_tokens_path((material.anchor / kPublicTokens).string());
  task->set_learning_rate(settings.tuned_learning_rate);
  task->set_epochs(settings.tuned_epochs);
  task->set_windows_per_domain(settings.tuned_windows_per_domain);
  task->set_load_balance(settings.tuned_load_balance);
  task->set_z_loss(settings.tuned_z_loss);
}

// INTERNAL unless the tensor is float32 of that shape and finite.
Status CheckTensor(const safetensors::File& file, const std::string& name,
                   const std::vector<int64_t>& shape) {
  const safetensors::TensorInfo* tensor = file.Find(name);
  if (tensor == nullptr || tensor->dtype != safetensors::DType::kF32 ||
      !std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(),
                  shape.end())) {
    return Internal("the worker's router has no float32 {} of {} experts", name,
                    shape[0]);
  }
  const auto bytes = file.Bytes(*tensor);
  for (size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(float));
    if (!std::isfinite(value)) {
      return Internal("the worker's router has numbers that are not finite");
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsRouterMode(std::string_view mode) {
  return mode == kDiscriminantMode || mode == kTrainedMode || MakesRouter(mode);
}

std::string RouterModeCaution(std::string_view mode) {
  std::string_view why;
  if (mode == kTrainedMode) {
    why =
        "suits a release of one expert: every row was trained on its owner's "
        "text alone and fires on everybody's";
  } else if (mode == kRidgeMode) {
    why =
        "kept less than the anchor alone has on most of nine domains: a "
        "token's second expert is a stranger about as readily as the anchor";
  } else {
    return "";
  }
  return fmt::format("router mode \"{}\" {} (docs/routers.md)", mode, why);
}

bool MakesRouter(std::string_view mode) {
  return mode == kRidgeMode || mode == kTunedMode;
}

job::Job RouterJob(std::string_view mode, const RouterMaterial& material,
                   const RoutingSettings& settings, const std::string& id) {
  job::Job job;
  job.set_id(id);
  job.set_output_directory(material.output.string());
  job.set_seed(settings.tuned_seed);
  job.add_read_paths(material.anchor.string());
  const auto& files =
      mode == kRidgeMode ? material.statistics : material.experts;
  for (const std::filesystem::path& file : files) {
    job.add_read_paths(file.string());
  }
  job::Task* task = job.add_tasks();
  if (mode == kRidgeMode) {
    FillRidge(material, settings, task->mutable_solve_ridge());
  } else {
    FillTuned(material, settings, task->mutable_tune_router());
  }
  return job;
}

std::map<std::string, double> RouterSettingsOf(
    std::string_view mode, const RoutingSettings& settings) {
  if (mode == kRidgeMode) {
    return {{"lambda", settings.ridge_lambda},
            {"temperature", settings.ridge_temperature}};
  }
  if (mode == kTunedMode) {
    return {{"epochs", settings.tuned_epochs},
            {"learning_rate", settings.tuned_learning_rate},
            {"load_balance", settings.tuned_load_balance},
            {"seed", static_cast<double>(settings.tuned_seed)},
            {"windows_per_domain", settings.tuned_windows_per_domain},
            {"z_loss", settings.tuned_z_loss}};
  }
  return {};
}

Status CheckRouterFile(const std::filesystem::path& file, int64_t experts,
                       int64_t num_layers, int64_t hidden_size) {
  ASSIGN_OR_RETURN(
      const auto router,
      safetensors::File::Open(
          file, {.limits = safetensors::HeaderLimits::ForModel()}));
  if (static_cast<int64_t>(router->tensors().size()) != 2 * num_layers) {
    return Internal("the worker's router has {} tensors, wanted {}",
                    router->tensors().size(), 2 * num_layers);
  }
  for (int64_t l = 0; l < num_layers; ++l) {
    RETURN_IF_ERROR(CheckTensor(*router, model_format::RouterWeight(l),
                                {experts, hidden_size}));
    RETURN_IF_ERROR(
        CheckTensor(*router, model_format::RouterBias(l), {experts}));
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
