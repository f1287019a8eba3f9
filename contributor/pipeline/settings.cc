#include "contributor/pipeline/settings.h"

#include <algorithm>

#include "common/config/defaults.h"

namespace tributary::contributor {
namespace {

int64_t HighestWidth(const AnchorFacts& anchor) {
  return anchor.max_width > 0 ? anchor.max_width : anchor.intermediate_size;
}

// Width and first layer against the anchor.
Status CheckShape(const Settings& settings, const AnchorFacts& anchor) {
  const int64_t highest = HighestWidth(anchor);
  if (!settings.widths.empty() &&
      static_cast<int64_t>(settings.widths.size()) != anchor.num_layers) {
    return InvalidArgument(
        "expert.widths: got {} values, wanted one per layer of {} ({}); "
        "correct them in contributor.textproto",
        settings.widths.size(), anchor.name, anchor.num_layers);
  }
  for (size_t l = 0; l < settings.widths.size(); ++l) {
    const int64_t width = settings.widths[l];
    const bool below = static_cast<int32_t>(l) < settings.first_layer;
    if (width % anchor.block != 0 || width > highest || (below && width > 0)) {
      return InvalidArgument(
          "expert.widths: got {} in layer {}, wanted {} (policy of {})", width,
          l,
          below ? "0 below first_layer"
                : fmt::format("a multiple of {} of at most {}", anchor.block,
                              highest),
          anchor.name);
    }
  }
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
  if (settings.recipe == Recipe::kPruneAndDistil && settings.widths.empty() &&
      !settings.chooses_widths() &&
      settings.width == anchor.intermediate_size) {
    return InvalidArgument(
        "expert.recipe: PRUNE_AND_DISTIL needs a width below the anchor's {}, "
        "got {}; choose TRAIN for a full-width expert",
        anchor.intermediate_size, settings.width);
  }
  if (settings.rank > 0 &&
      (!settings.widths.empty() || settings.chooses_widths() ||
       settings.width != anchor.intermediate_size)) {
    return InvalidArgument(
        "expert.rank: got {} with width {}, wanted the anchor's width {} in "
        "every layer: differences to its network are of that width",
        settings.rank, settings.width, anchor.intermediate_size);
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view RecipeName(Recipe recipe) {
  return recipe == Recipe::kTrain ? "train" : "prune-and-distil";
}

StatusOr<Settings> ResolveSettings(const config::ContributorConfig& config,
                                   const AnchorFacts& anchor) {
  RETURN_IF_ERROR(config::CheckTrainingData(config));
  const config::Expert& expert = config.expert();
  Settings settings;
  settings.contribution = config.contribution();
  settings.data = config.data();
  if (settings.data.window_tokens() == 0) {
    settings.data.set_window_tokens(anchor.window_tokens);
  }
  settings.recipe = expert.recipe() == config::Expert::PRUNE_AND_DISTIL
                        ? Recipe::kPruneAndDistil
                        : Recipe::kTrain;
  settings.width = expert.width() > 0 ? expert.width() : HighestWidth(anchor);
  settings.widths = {expert.widths().begin(), expert.widths().end()};
  if (!settings.widths.empty()) {
    settings.width = std::ranges::max(settings.widths);
  }
  if (expert.fraction() > 0) {
    // A share of all channels; what is less than a block is one.
    settings.width = std::max(
        anchor.block,
        static_cast<int64_t>(expert.fraction() * anchor.intermediate_size) /
            anchor.block * anchor.block);
  }
  settings.parameter_budget = expert.parameter_budget();
  settings.quality_bound = expert.quality_bound();
  settings.rank = expert.rank();
  settings.first_layer =
      expert.first_layer() > 0 ? expert.first_layer() : anchor.first_layer;
  settings.router = expert.router() == "closed_form"
                        ? job::FitRouter::CLOSED_FORM
                        : job::FitRouter::LOGISTIC;
  settings.trains_rows = expert.router() == "trained";
  if (settings.trains_rows && settings.recipe == Recipe::kPruneAndDistil) {
    return InvalidArgument(
        "expert.router: got \"trained\" with PRUNE_AND_DISTIL, wanted recipe "
        "TRAIN: rows are trained together with the expert that is sent");
  }
  settings.unfolded_rows = expert.unfolded_rows();
  if (settings.unfolded_rows &&
      (settings.trains_rows ||
       settings.router == job::FitRouter::CLOSED_FORM)) {
    return InvalidArgument(
        "expert.unfolded_rows: got it with router \"{}\", wanted \"logistic\", "
        "whose bias alone is folded; leave unfolded_rows out",
        expert.router());
  }
  settings.router_statistics = expert.router_statistics();
  if (settings.router_statistics &&
      !config.policy().allow_router_statistics()) {
    return PermissionDenied(
        "expert.router_statistics: the site's policy keeps statistics of "
        "private activations at home; set policy.allow_router_statistics or "
        "leave them out");
  }
  settings.form = expert.distillation_form() == "renormalised"
                      ? job::Distill::RENORMALISED
                      : job::Distill::TAIL;
  settings.text_share = expert.text_share();
  settings.optimizer = OptimizerOf(config.training());
  settings.seed = config.seed();
  settings.min_documents = config.policy().min_documents();
  settings.min_tokens = config.policy().min_tokens();
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
  optimizer.set_schedule(
      training.schedule() == "constant" ? job::Optimizer::CONSTANT
      : training.schedule() == "linear" ? job::Optimizer::LINEAR
                                        : job::Optimizer::COSINE);
  optimizer.set_micro_batch_windows(training.micro_batch_windows());
  optimizer.set_validation_steps(training.validation_steps());
  optimizer.set_patience(training.patience());
  optimizer.set_min_improvement(training.min_improvement());
  optimizer.set_recompute_activations(training.recompute_activations());
  *optimizer.mutable_nested_widths() = training.nested_widths();
  optimizer.set_frozen_storage(training.frozen_storage() == "bfloat16"
                                   ? job::Optimizer::BFLOAT16
                                   : job::Optimizer::FLOAT32);
  return optimizer;
}

}  // namespace tributary::contributor
