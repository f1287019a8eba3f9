#include "contributor/pruning/prune.h"

#include <algorithm>
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

namespace {

// What channels are taken from.
struct Source {
  std::unique_ptr<model_format::HfDirectory> directory;
  std::optional<ExpertFile> expert;
  std::vector<int64_t> channels;   // per layer
  std::vector<int64_t> available;  // those, within max_width

  static StatusOr<Source> Open(const PruneOptions& options) {
    Source source;
    ASSIGN_OR_RETURN(source.directory,
                     model_format::HfDirectory::Open(options.model_directory));
    const model_format::ModelConfig& anchor = source.directory->config();
    source.available =
        model_format::ExpertLayout::Uniform(
            anchor.num_layers, options.first_layer, anchor.intermediate_size)
            .widths;
    if (!options.expert_path.empty()) {
      ASSIGN_OR_RETURN(source.expert,
                       ExpertFile::Open(anchor, options.expert_path));
      source.available = source.expert->layout().widths;
    }
    source.channels = source.available;
    if (options.max_width > 0) {
      for (int64_t& width : source.available) {
        width = std::min(width, options.max_width);
      }
    }
    return source;
  }

  StatusOr<LayerWeights> ReadLayer(int64_t l) const {
    return expert ? expert->ReadLayer(l) : ReadAnchorLayer(*directory, l);
  }
};

// The channels of a layer in the order in which they are kept, cut to `width`.
StatusOr<std::vector<int32_t>> KeptChannels(const PruneOptions& options,
                                            const ChannelScores& scores,
                                            const LayerWeights& full,
                                            int64_t layer, int64_t width) {
  if (options.ranking == Ranking::kImportance) {
    RETURN_IF_ERROR(CheckScoredChannels(
        scores.file, layer,
        DigestChannels(full.gate_FD, full.up_FD, full.down_DF),
        options.importance_path,
        (options.expert_path.empty() ? options.model_directory
                                     : options.expert_path)
            .string()));
    return HighestChannels(scores.layers[layer], width);
  }
  std::vector<int32_t> kept(full.width);
  std::iota(kept.begin(), kept.end(), 0);
  if (options.ranking == Ranking::kRandom) {
    kept = ShuffledChannels(options.seed, layer, full.width);
  }
  kept.resize(width);
  return kept;
}

// `options` with the ranking that the default stands for.
StatusOr<PruneOptions> Resolve(PruneOptions options, const Source& source,
                               const std::vector<int64_t>& widths) {
  const bool scored = !options.importance_path.empty();
  if (options.ranking == Ranking::kDefault) {
    options.ranking =
        !source.expert && scored ? Ranking::kImportance : Ranking::kStored;
    for (size_t l = 0; l < widths.size(); ++l) {
      if (!source.expert && !scored && widths[l] > 0 &&
          widths[l] < source.channels[l]) {
        return InvalidArgument(
            "importance: wanted the scores of the anchor's channels to keep {} "
            "of {} in layer {}; calibrate first",
            widths[l], source.channels[l], l);
      }
    }
  }
  if (options.ranking == Ranking::kImportance && !scored) {
    return InvalidArgument(
        "importance: got no scores, wanted those of the channels that are "
        "ranked; calibrate first");
  }
  return options;
}

}  // namespace

StatusOr<std::vector<int64_t>> AvailableWidths(const PruneOptions& options) {
  ASSIGN_OR_RETURN(const Source source, Source::Open(options));
  return source.available;
}

StatusOr<PrunedExpert> Prune(const PruneOptions& request) {
  ASSIGN_OR_RETURN(const Source source, Source::Open(request));
  const model_format::ModelConfig& anchor = source.directory->config();
  const bool ranked = request.ranking == Ranking::kImportance ||
                      (request.ranking == Ranking::kDefault && !source.expert);
  ChannelScores scores;
  scores.layers.resize(anchor.num_layers);
  if (!request.importance_path.empty() &&
      (ranked || request.request.parameter_budget != 0)) {
    ASSIGN_OR_RETURN(scores,
                     ReadImportance(source.channels, request.importance_path,
                                    request.formula));
  }
  ASSIGN_OR_RETURN(const model_format::ExpertLayout layout,
                   PlanWidths(anchor, request.first_layer, source.available,
                              scores.layers, request.request));
  ASSIGN_OR_RETURN(const PruneOptions options,
                   Resolve(request, source, layout.widths));
  PrunedExpert pruned;
  pruned.layers.resize(anchor.num_layers);
  pruned.kept.resize(anchor.num_layers);
  for (int64_t l = options.first_layer; l < anchor.num_layers; ++l) {
    const int64_t width = layout.widths[l];
    if (width == 0) {
      continue;
    }
    ASSIGN_OR_RETURN(const LayerWeights full, source.ReadLayer(l));
    ASSIGN_OR_RETURN(pruned.kept[l],
                     KeptChannels(options, scores, full, l, width));
    pruned.layers[l] = SelectChannels(full, pruned.kept[l], anchor.hidden_size);
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
