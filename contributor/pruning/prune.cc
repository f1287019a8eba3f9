#include "contributor/pruning/prune.h"

#include <numeric>
#include <optional>

#include "common/model_format/hf_directory.h"
#include "common/safetensors/writer.h"
#include "contributor/pruning/channels.h"

namespace tributary::contributor {

std::vector<int64_t> PrunedExpert::widths() const {
  std::vector<int64_t> widths;
  for (const LayerWeights& layer : layers) {
    widths.push_back(layer.width);
  }
  return widths;
}

StatusOr<PrunedExpert> Prune(const PruneOptions& options) {
  ASSIGN_OR_RETURN(const auto directory,
                   model_format::HfDirectory::Open(options.model_directory));
  const model_format::ModelConfig& anchor = directory->config();
  std::optional<ExpertFile> source;
  std::vector<int64_t> available =
      model_format::ExpertLayout::Uniform(
          anchor.num_layers, options.first_layer, anchor.intermediate_size)
          .widths;
  if (!options.expert_path.empty()) {
    ASSIGN_OR_RETURN(source, ExpertFile::Open(anchor, options.expert_path));
    available = source->layout().widths;
  }
  std::vector<std::vector<float>> scores(anchor.num_layers);
  if (!options.importance_path.empty() &&
      (!source || options.request.parameter_budget != 0)) {
    ASSIGN_OR_RETURN(scores,
                     ReadImportance(available, options.importance_path));
  }
  ASSIGN_OR_RETURN(const model_format::ExpertLayout layout,
                   PlanWidths(anchor, options.first_layer, available, scores,
                              options.request));
  PrunedExpert pruned;
  pruned.layers.resize(anchor.num_layers);
  pruned.kept.resize(anchor.num_layers);
  for (int64_t l = options.first_layer; l < anchor.num_layers; ++l) {
    const int64_t width = layout.widths[l];
    if (width == 0) {
      continue;
    }
    std::vector<int32_t>& kept = pruned.kept[l];
    if (source || scores[l].empty()) {
      if (!source && width < anchor.intermediate_size) {
        return InvalidArgument(
            "importance: wanted the scores of the anchor's channels to keep {} "
            "of {} in layer {}; calibrate first",
            width, anchor.intermediate_size, l);
      }
      kept.resize(width);
      std::iota(kept.begin(), kept.end(), 0);
    } else {
      kept = HighestChannels(scores[l], width);
    }
    ASSIGN_OR_RETURN(
        const LayerWeights full,
        source ? source->ReadLayer(l) : ReadAnchorLayer(*directory, l));
    pruned.layers[l] = SelectChannels(full, kept, anchor.hidden_size);
    pruned.parameters += 3 * width * anchor.hidden_size;
  }
  return pruned;
}

StatusOr<PrunedExpert> PruneToFile(const PruneOptions& options,
                                   const std::filesystem::path& expert_path,
                                   const std::filesystem::path& plan_path) {
  ASSIGN_OR_RETURN(PrunedExpert pruned, Prune(options));
  ASSIGN_OR_RETURN(const auto config,
                   model_format::LoadModelConfig(options.model_directory));
  RETURN_IF_ERROR(
      WriteExpertWeights(expert_path, config.hidden_size, pruned.layers));
  std::vector<safetensors::TensorView> plan;
  for (size_t l = 0; l < pruned.kept.size(); ++l) {
    const auto& kept = pruned.kept[l];
    if (!kept.empty()) {
      plan.push_back({{fmt::format("layers.{}.kept", l),
                       safetensors::DType::kI32,
                       {static_cast<int64_t>(kept.size())}},
                      std::as_bytes(std::span(kept))});
    }
  }
  RETURN_IF_ERROR(safetensors::WriteFile(plan_path, plan));
  return pruned;
}

}  // namespace tributary::contributor
