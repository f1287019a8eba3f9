#include "contributor/training/train_expert.h"

#include <cmath>

#include "common/model_format/parameter_names.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/pruning/prune.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

Tensor Copy(std::vector<float>& values, at::IntArrayRef sizes,
            at::Device device) {
  return at::from_blob(values.data(), sizes, at::TensorOptions(at::kFloat))
      .to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

// The rows of a router file, which must be there for every layer.
Status ReadRows(const model_format::ModelConfig& anchor,
                const std::filesystem::path& path, at::Device device,
                model::Expert* expert) {
  ASSIGN_OR_RETURN(const auto file, OpenTensorFile(path));
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    ASSIGN_OR_RETURN(
        const Tensor weight,
        MapFloats(file, model_format::RouterWeight(l), {anchor.hidden_size}));
    ASSIGN_OR_RETURN(const Tensor bias,
                     MapFloats(file, model_format::RouterBias(l), {}));
    expert->router_D.push_back(weight.clone().to(device));
    expert->router_bias.push_back(bias.clone().to(device));
  }
  return absl::OkStatus();
}

// Row l is mean(x) / |mean(x)|; zeros below first_layer.
Status RowsFromActivations(const model_format::ModelConfig& anchor,
                           const InitialExpertOptions& options,
                           at::Device device, model::Expert* expert) {
  ASSIGN_OR_RETURN(const auto file, OpenTensorFile(options.activations_path));
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    Tensor row = at::zeros({anchor.hidden_size});
    if (l >= options.first_layer) {
      ASSIGN_OR_RETURN(const Tensor x,
                       MapFloats(file, fmt::format("layers.{}.x", l),
                                 {-1, anchor.hidden_size}));
      const Tensor mean = x.to(at::kDouble).mean(0);
      const double norm = mean.norm().item<double>();
      if (!(norm > 0 && std::isfinite(norm))) {
        return InvalidArgument(
            "{}: the mean of layer {} has length {}, a row cannot start from "
            "it; calibrate again",
            options.activations_path.string(), l, norm);
      }
      row = (mean / norm).to(at::kFloat);
    }
    expert->router_D.push_back(row.to(device));
    expert->router_bias.push_back(at::zeros({}).to(device));
  }
  return absl::OkStatus();
}

}  // namespace

Status CheckNestedWidths(const model_format::ModelConfig& anchor,
                         const std::vector<int64_t>& widths) {
  ASSIGN_OR_RETURN(const int64_t block,
                   model_format::WidthBlock(anchor.intermediate_size));
  for (const int64_t width : widths) {
    if (width < block || width > anchor.intermediate_size ||
        width % block != 0) {
      return InvalidArgument(
          "nested_widths: got {}, wanted multiples of {} up to {}", width,
          block, anchor.intermediate_size);
    }
  }
  return absl::OkStatus();
}

StatusOr<model::Expert> MakeInitialExpert(const model::CausalLm& anchor,
                                          const InitialExpertOptions& options) {
  const model_format::ModelConfig& config = anchor.config;
  const at::Device device = anchor.device();
  PruneOptions prune = {.model_directory = options.model_directory,
                        .importance_path = options.initial_path.empty()
                                               ? options.importance_path
                                               : std::filesystem::path(),
                        .expert_path = options.initial_path,
                        .first_layer = options.first_layer,
                        .request = {.widths = options.widths}};
  if (options.widths.empty()) {
    if (options.initial_path.empty()) {
      return InvalidArgument(
          "widths: got none, wanted a width for the expert (a multiple of the "
          "anchor's block)");
    }
    ASSIGN_OR_RETURN(const ExpertFile file,
                     ExpertFile::Open(config, options.initial_path));
    prune.request.widths = file.layout().widths;
  }
  ASSIGN_OR_RETURN(PrunedExpert pruned, Prune(prune));
  model::Expert expert{.name = "expert"};
  expert.layers.resize(config.num_layers);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    LayerWeights& layer = pruned.layers[l];
    if (layer.width > 0) {
      expert.layers[l] = model::Ffn{
          .gate_FD =
              Copy(layer.gate_FD, {layer.width, config.hidden_size}, device),
          .up_FD = Copy(layer.up_FD, {layer.width, config.hidden_size}, device),
          .down_DF =
              Copy(layer.down_DF, {config.hidden_size, layer.width}, device)};
      layer = {};  // not twice in memory
    }
  }
  if (options.activations_path.empty()) {
    RETURN_IF_ERROR(ReadRows(config, options.router_path, device, &expert));
  } else {
    RETURN_IF_ERROR(RowsFromActivations(config, options, device, &expert));
  }
  return expert;
}

StatusOr<TrainingOutcome> TrainOnText(const model::CausalLm& anchor,
                                      const TrainTask& task) {
  RETURN_IF_ERROR(
      CheckNestedWidths(anchor.config, task.trainer.optimizer.nested_widths));
  if (task.trainer.rows.trained == task.initial.activations_path.empty()) {
    return InvalidArgument(
        "trained rows start from activations, fixed ones from a router file; "
        "got {} rows and {} activations",
        task.trainer.rows.trained ? "trained" : "fixed",
        task.initial.activations_path.empty() ? "no" : "a file of");
  }
  model::CausalLm lm = anchor;
  lm.top_k = 2;
  lm.renormalise = model_format::MergedNormTopkProb(anchor.config);
  ASSIGN_OR_RETURN(model::Expert expert,
                   MakeInitialExpert(anchor, task.initial));
  RETURN_IF_ERROR(model::AttachExpert(lm, std::move(expert)));
  ASSIGN_OR_RETURN(const TrunkWindows train,
                   LoadTrunkWindows(task.data, "train", lm));
  ASSIGN_OR_RETURN(const TrunkWindows heldout,
                   LoadTrunkWindows(task.data, "heldout", lm));
  TrainerOptions options = task.trainer;
  options.loss_description = "text";
  return TrainExpert(
      lm, train, heldout,
      [&lm](const WindowBatch& batch, const Tensor& hidden_TD) {
        return model::TokenLogLoss(lm, hidden_TD, batch.targets_T).mean();
      },
      options);
}

}  // namespace tributary::contributor
