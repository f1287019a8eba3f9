#include "contributor/pipeline/settings.h"

#include "common/manifest/resource_name.h"

namespace tributary::contributor {
namespace {

StatusOr<job::FitRouter::Method> ParseRouter(const std::string& text) {
  if (text.empty() || text == "logistic") {
    return job::FitRouter::LOGISTIC;
  }
  if (text == "closed_form") {
    return job::FitRouter::CLOSED_FORM;
  }
  return InvalidArgument(
      "expert.router: got \"{}\", wanted \"logistic\" or \"closed_form\"",
      text);
}

StatusOr<job::Distill::Form> ParseForm(const std::string& text) {
  if (text.empty() || text == "tail") {
    return job::Distill::TAIL;
  }
  if (text == "renormalised") {
    return job::Distill::RENORMALISED;
  }
  return InvalidArgument(
      "expert.distillation_form: got \"{}\", wanted \"tail\" or "
      "\"renormalised\"",
      text);
}

Status CheckNotNegative(std::string_view field, double value) {
  if (value < 0) {
    return InvalidArgument("{}: got {}, wanted 0 or more", field, value);
  }
  return absl::OkStatus();
}

Status CheckNumbers(const config::ContributorConfig& config) {
  const config::Data& data = config.data();
  const config::Training& training = config.training();
  const std::pair<std::string_view, double> numbers[] = {
      {"data.window_tokens", data.window_tokens()},
      {"data.max_train_windows", data.max_train_windows()},
      {"data.max_heldout_windows", data.max_heldout_windows()},
      {"data.max_windows_per_document", data.max_windows_per_document()},
      {"expert.width", static_cast<double>(config.expert().width())},
      {"expert.first_layer", config.expert().first_layer()},
      {"training.learning_rate", training.learning_rate()},
      {"training.beta1", training.beta1()},
      {"training.beta2", training.beta2()},
      {"training.weight_decay", training.weight_decay()},
      {"training.clip_norm", training.clip_norm()},
      {"training.warmup_steps", training.warmup_steps()},
      {"training.final_fraction", training.final_fraction()},
      {"training.epochs", training.epochs()},
      {"training.windows_per_step", training.windows_per_step()},
      {"training.checkpoint_steps", training.checkpoint_steps()},
      {"policy.min_documents",
       static_cast<double>(config.policy().min_documents())},
      {"policy.min_tokens", static_cast<double>(config.policy().min_tokens())},
  };
  for (const auto& [field, value] : numbers) {
    RETURN_IF_ERROR(CheckNotNegative(field, value));
  }
  return absl::OkStatus();
}

// Width and first layer against the anchor.
Status CheckShape(const Settings& settings, const AnchorFacts& anchor) {
  const int64_t highest =
      anchor.max_width > 0 ? anchor.max_width : anchor.intermediate_size;
  if (settings.width <= 0 || settings.width > highest ||
      settings.width % anchor.block != 0) {
    return InvalidArgument(
        "expert.width: got {}, wanted a multiple of {} from {} to {} (policy "
        "of {}); correct it in contributor.textproto",
        settings.width, anchor.block, anchor.block, highest, anchor.name);
  }
  if (settings.first_layer < anchor.first_layer ||
      settings.first_layer >= anchor.num_layers) {
    return InvalidArgument(
        "expert.first_layer: got {}, wanted {} to {} (policy of {})",
        settings.first_layer, anchor.first_layer, anchor.num_layers - 1,
        anchor.name);
  }
  if (settings.recipe == Recipe::kPruneAndDistil &&
      settings.width == anchor.intermediate_size) {
    return InvalidArgument(
        "expert.recipe: PRUNE_AND_DISTIL needs a width below the anchor's {}, "
        "got {}; choose TRAIN for a full-width expert",
        anchor.intermediate_size, settings.width);
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view RecipeName(Recipe recipe) {
  return recipe == Recipe::kTrain ? "train" : "prune-and-distil";
}

std::string ContributionId(const config::ContributorConfig& config,
                           const std::string& default_contribution) {
  return config.contribution().empty() ? default_contribution
                                       : config.contribution();
}

Status CheckConfig(const config::ContributorConfig& config) {
  if (!config.contribution().empty()) {
    RETURN_IF_ERROR(manifest::CheckId("contribution", config.contribution()));
  }
  if (config.data().train().empty()) {
    return InvalidArgument(
        "data.train: got nothing, wanted at least one file or folder of text "
        "(.txt or .jsonl)");
  }
  RETURN_IF_ERROR(CheckNumbers(config));
  RETURN_IF_ERROR(ParseRouter(config.expert().router()).status());
  RETURN_IF_ERROR(ParseForm(config.expert().distillation_form()).status());
  const config::Expert& expert = config.expert();
  if (expert.has_text_share() &&
      !(expert.text_share() >= 0 && expert.text_share() <= 1)) {
    return InvalidArgument("expert.text_share: got {}, wanted 0 to 1",
                           expert.text_share());
  }
  return absl::OkStatus();
}

StatusOr<Settings> ResolveSettings(const config::ContributorConfig& config,
                                   const AnchorFacts& anchor,
                                   const std::string& default_contribution) {
  RETURN_IF_ERROR(CheckConfig(config));
  const config::Expert& expert = config.expert();
  Settings settings;
  settings.contribution = ContributionId(config, default_contribution);
  settings.data = config.data();
  if (settings.data.window_tokens() == 0) {
    settings.data.set_window_tokens(anchor.window_tokens);
  }
  settings.recipe = expert.recipe() == config::Expert::PRUNE_AND_DISTIL
                        ? Recipe::kPruneAndDistil
                        : Recipe::kTrain;
  settings.width = expert.width();
  settings.first_layer =
      expert.first_layer() > 0 ? expert.first_layer() : anchor.first_layer;
  ASSIGN_OR_RETURN(settings.router, ParseRouter(expert.router()));
  ASSIGN_OR_RETURN(settings.form, ParseForm(expert.distillation_form()));
  if (expert.has_text_share()) {
    settings.text_share = expert.text_share();
  }
  settings.optimizer = OptimizerOf(config.training());
  settings.seed = config.seed();
  if (config.policy().min_documents() > 0) {
    settings.min_documents = config.policy().min_documents();
  }
  if (config.policy().min_tokens() > 0) {
    settings.min_tokens = config.policy().min_tokens();
  }
  RETURN_IF_ERROR(CheckShape(settings, anchor));
  return settings;
}

job::Optimizer OptimizerOf(const config::Training& training) {
  job::Optimizer optimizer;
  optimizer.set_learning_rate(training.learning_rate());
  optimizer.set_beta1(training.beta1());
  optimizer.set_beta2(training.beta2());
  optimizer.set_weight_decay(training.weight_decay());
  optimizer.set_clip_norm(training.clip_norm());
  optimizer.set_warmup_steps(training.warmup_steps());
  optimizer.set_final_fraction(training.final_fraction());
  optimizer.set_epochs(training.epochs());
  optimizer.set_windows_per_step(training.windows_per_step());
  optimizer.set_checkpoint_steps(training.checkpoint_steps());
  return optimizer;
}

}  // namespace tributary::contributor
