#include "contributor/pruning/width_plan.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <tuple>

namespace tributary::contributor {
namespace {

using model_format::ExpertLayout;
using model_format::ModelConfig;

StatusOr<ExpertLayout> PlanExplicit(const ModelConfig& anchor,
                                    int64_t first_layer,
                                    const std::vector<int64_t>& widths) {
  if (widths.size() == 1) {
    return ExpertLayout::Uniform(anchor.num_layers, first_layer, widths[0]);
  }
  if (static_cast<int64_t>(widths.size()) != anchor.num_layers) {
    return InvalidArgument(
        "widths: got {} values, wanted one or one per layer ({})",
        widths.size(), anchor.num_layers);
  }
  for (int64_t l = 0; l < first_layer; ++l) {
    if (widths[l] != 0) {
      return InvalidArgument(
          "widths: got {} in layer {}, wanted 0 below first_layer {}",
          widths[l], l, first_layer);
    }
  }
  return ExpertLayout{widths};
}

// How many of the `channels` highest scores of all layers each layer has. Equal
// scores are taken from all layers in turn.
std::vector<int64_t> CountHighest(const std::vector<std::vector<float>>& scores,
                                  int64_t first_layer, int64_t channels) {
  struct Channel {
    double score;
    size_t rank;  // within its layer
    size_t layer;
  };
  std::vector<Channel> all;
  for (size_t l = first_layer; l < scores.size(); ++l) {
    std::vector<float> sorted = scores[l];
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double sum = std::accumulate(sorted.begin(), sorted.end(), 0.0);
    const double scale =
        sum > 0 ? static_cast<double>(sorted.size()) / sum : 0.0;
    for (size_t i = 0; i < sorted.size(); ++i) {
      all.push_back({sorted[i] * scale, i, l});
    }
  }
  std::sort(all.begin(), all.end(), [](const Channel& a, const Channel& b) {
    return std::tuple(-a.score, a.rank, a.layer) <
           std::tuple(-b.score, b.rank, b.layer);
  });
  std::vector<int64_t> counts(scores.size(), 0);
  for (size_t i = 0; i < all.size() && i < static_cast<size_t>(channels); ++i) {
    ++counts[all[i].layer];
  }
  return counts;
}

StatusOr<ExpertLayout> PlanBudget(const ModelConfig& anchor,
                                  int64_t first_layer, int64_t block,
                                  const std::vector<int64_t>& available,
                                  const std::vector<std::vector<float>>& scores,
                                  int64_t budget) {
  const int64_t layers = anchor.num_layers - first_layer;
  const int64_t per_block = 3 * anchor.hidden_size * block;
  int64_t room = 0;
  for (int64_t l = first_layer; l < anchor.num_layers; ++l) {
    if (static_cast<int64_t>(scores[l].size()) < available[l]) {
      return InvalidArgument(
          "importance: layer {} has {} scores, wanted {}; calibrate with this "
          "anchor from layer {} on",
          l, scores[l].size(), available[l], first_layer);
    }
    room += available[l] / block;
  }
  int64_t blocks = std::min(budget / per_block, room);
  if (blocks < layers) {
    return InvalidArgument(
        "parameter budget: got {}, wanted at least {}: one block of {} "
        "channels in each of {} layers",
        budget, layers * per_block, block, layers);
  }
  const std::vector<int64_t> counts =
      CountHighest(scores, first_layer, blocks * block);
  ExpertLayout layout{std::vector<int64_t>(anchor.num_layers, 0)};
  for (int64_t l = first_layer; l < anchor.num_layers; ++l) {
    layout.widths[l] = block;
  }
  for (blocks -= layers; blocks > 0; --blocks) {
    int64_t neediest = -1;
    for (int64_t l = first_layer; l < anchor.num_layers; ++l) {
      if (layout.widths[l] + block <= available[l] &&
          (neediest < 0 || counts[l] - layout.widths[l] >
                               counts[neediest] - layout.widths[neediest])) {
        neediest = l;
      }
    }
    layout.widths[neediest] += block;
  }
  return layout;
}

}  // namespace

StatusOr<ExpertLayout> PlanWidths(const ModelConfig& anchor,
                                  int64_t first_layer,
                                  const std::vector<int64_t>& available,
                                  const std::vector<std::vector<float>>& scores,
                                  const WidthRequest& request) {
  if (first_layer < 0 || first_layer >= anchor.num_layers) {
    return InvalidArgument("first_layer: got {}, wanted 0 to {}", first_layer,
                           anchor.num_layers - 1);
  }
  const int kinds = (request.widths.empty() ? 0 : 1) +
                    (request.fraction != 0 ? 1 : 0) +
                    (request.parameter_budget != 0 ? 1 : 0);
  if (kinds != 1) {
    return InvalidArgument(
        "widths: got {} of widths, fraction and parameter budget, wanted "
        "exactly one",
        kinds);
  }
  ASSIGN_OR_RETURN(const int64_t block,
                   model_format::WidthBlock(anchor.intermediate_size));
  ExpertLayout layout;
  if (!request.widths.empty()) {
    ASSIGN_OR_RETURN(layout, PlanExplicit(anchor, first_layer, request.widths));
  } else if (request.parameter_budget != 0) {
    ASSIGN_OR_RETURN(layout, PlanBudget(anchor, first_layer, block, available,
                                        scores, request.parameter_budget));
  } else {
    if (!(request.fraction > 0 && request.fraction <= 1)) {
      return InvalidArgument(
          "fraction: got {}, wanted more than 0 and at most 1",
          request.fraction);
    }
    layout.widths.assign(anchor.num_layers, 0);
    for (int64_t l = first_layer; l < anchor.num_layers; ++l) {
      ASSIGN_OR_RETURN(
          layout.widths[l],
          model_format::RoundToBlock(
              anchor.intermediate_size,
              static_cast<int64_t>(request.fraction * available[l] + 1e-6)));
    }
  }
  RETURN_IF_ERROR(model_format::CheckLayout(anchor, layout));
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    if (layout.widths[l] > available[l]) {
      return InvalidArgument(
          "width of layer {}: got {}, wanted at most {}, the channels that are "
          "there",
          l, layout.widths[l], available[l]);
    }
  }
  return layout;
}

}  // namespace tributary::contributor
