#include "contributor/training/run_shape.h"

#include <algorithm>

#include "contributor/calibration/tensor_file.h"
#include "contributor/pruning/expert_weights.h"

namespace tributary::contributor {
namespace {

// [windows, tokens] of a split.
StatusOr<std::pair<int64_t, int64_t>> WindowsOf(const TrunkFiles& data,
                                                const std::string& split) {
  ASSIGN_OR_RETURN(const auto file, OpenTensorFile(data.tokens_path));
  ASSIGN_OR_RETURN(const at::Tensor ids, MapTensor(file, split));
  if (ids.dim() != 2) {
    return InvalidArgument("{}: tensor {}: got {} dimensions, wanted 2",
                           data.tokens_path.string(), split, ids.dim());
  }
  return std::pair(ids.size(0), ids.size(1));
}

}  // namespace

StatusOr<TrainingShape> ShapeOfRun(const InitialExpertOptions& initial,
                                   const TrunkFiles& data,
                                   const TrainerOptions& trainer,
                                   const RunShapeOptions& options) {
  ASSIGN_OR_RETURN(const model_format::ModelConfig config,
                   model_format::LoadModelConfig(initial.model_directory));
  std::vector<int64_t> widths = initial.widths;
  if (widths.empty() && !initial.initial_path.empty()) {
    ASSIGN_OR_RETURN(const ExpertFile file,
                     ExpertFile::Open(config, initial.initial_path));
    widths = file.layout().widths;
  }
  TrainingShape shape = ShapeOf(config, initial.first_layer, widths);
  ASSIGN_OR_RETURN(const auto train, WindowsOf(data, "train"));
  ASSIGN_OR_RETURN(const auto heldout, WindowsOf(data, "heldout"));
  const OptimizerOptions& optimizer = trainer.optimizer;
  shape.window_tokens = train.second;
  shape.train_windows = train.first;
  shape.heldout_windows = heldout.first;
  shape.windows_per_step = std::min(optimizer.windows_per_step, train.first);
  shape.windows_at_a_time =
      optimizer.micro_batch_windows > 0
          ? std::min(optimizer.micro_batch_windows, shape.windows_per_step)
          : shape.windows_per_step;
  shape.recompute_activations = trainer.recompute_activations;
  shape.distils = options.distils;
  shape.frozen_element_bytes = options.frozen_element_bytes;
  return shape;
}

}  // namespace tributary::contributor
