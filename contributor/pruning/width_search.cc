#include "contributor/pruning/width_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tributary::contributor {
namespace {

using model_format::ExpertLayout;

ExpertLayout AtMost(const std::vector<int64_t>& available, int64_t width) {
  ExpertLayout layout{available};
  for (int64_t& wide : layout.widths) {
    wide = std::min(wide, width);
  }
  return layout;
}

int64_t Channels(const ExpertLayout& layout) {
  return std::accumulate(layout.widths.begin(), layout.widths.end(),
                         int64_t{0});
}

// Measures and remembers.
Status Try(std::string label, ExpertLayout layout, const MeasureWidths& measure,
           WidthChoice* choice) {
  ASSIGN_OR_RETURN(const double loss, measure(layout));
  choice->trials.push_back({std::move(label), std::move(layout), loss});
  return absl::OkStatus();
}

}  // namespace

StatusOr<WidthChoice> SmallestWidth(const model_format::ModelConfig& anchor,
                                    const std::vector<int64_t>& available,
                                    double bound,
                                    const MeasureWidths& measure) {
  if (!(bound > 0) || !std::isfinite(bound)) {
    return InvalidArgument(
        "quality: got a bound of {}, wanted more than 0 nats per token", bound);
  }
  ASSIGN_OR_RETURN(const int64_t block,
                   model_format::WidthBlock(anchor.intermediate_size));
  const int64_t widest = *std::ranges::max_element(available);
  if (widest < block) {
    return InvalidArgument("quality: there are no channels to choose from");
  }
  WidthChoice choice{.layout = ExpertLayout{available}, .trials = {}};
  RETURN_IF_ERROR(Try("full", choice.layout, measure, &choice));
  const double allowed = choice.trials[0].heldout_log_loss + bound;
  int64_t too_narrow = 0;  // blocks; none would do or is known to
  int64_t enough = widest / block;
  while (enough - too_narrow > 1) {
    const int64_t middle = (too_narrow + enough) / 2;
    const ExpertLayout layout = AtMost(available, middle * block);
    RETURN_IF_ERROR(Try("width", layout, measure, &choice));
    if (choice.trials.back().heldout_log_loss <= allowed) {
      enough = middle;
      choice.layout = layout;
    } else {
      too_narrow = middle;
    }
  }
  return choice;
}

StatusOr<WidthChoice> CheckAgainstUniform(
    const model_format::ModelConfig& anchor,
    const std::vector<int64_t>& available, const ExpertLayout& planned,
    const MeasureWidths& measure) {
  ASSIGN_OR_RETURN(const int64_t block,
                   model_format::WidthBlock(anchor.intermediate_size));
  int64_t width = block;
  while (width + block <= anchor.intermediate_size &&
         Channels(AtMost(available, width + block)) <= Channels(planned)) {
    width += block;
  }
  const ExpertLayout uniform = AtMost(available, width);
  WidthChoice choice{.layout = planned, .trials = {}};
  if (uniform == planned) {
    return choice;
  }
  RETURN_IF_ERROR(Try("auto", planned, measure, &choice));
  RETURN_IF_ERROR(Try("uniform", uniform, measure, &choice));
  if (choice.trials[1].heldout_log_loss < choice.trials[0].heldout_log_loss) {
    choice.layout = uniform;
  }
  return choice;
}

}  // namespace tributary::contributor
