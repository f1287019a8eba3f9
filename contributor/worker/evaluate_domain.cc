#include "contributor/worker/evaluate_domain.h"

#include <algorithm>

#include "common/evaluation/log_loss.h"
#include "common/model/errors.h"
#include "common/model/expert_beside.h"
#include "common/model/load.h"
#include "common/model/load_release.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/calibration/window_documents.h"
#include "contributor/training/trunk_windows.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr int64_t kTrunkWindows = 4;  // at a time

// The first layer that is not computed as the anchor's own.
int64_t FirstRoutedLayer(const model::CausalLm& lm) {
  for (int64_t l = 0; l < lm.num_layers(); ++l) {
    if (lm.layers[l].routes()) {
      return l;
    }
  }
  return lm.num_layers();
}

// A release whose experts begin below the layers that are loaded would be
// evaluated without them.
Status CheckRelease(const EvaluatedModel& model, int64_t first_layer) {
  ASSIGN_OR_RETURN(const auto manifest,
                   model::ReadReleaseManifest(model.directory));
  for (const auto& expert : manifest.experts) {
    for (int64_t l = 0;
         l < std::min<int64_t>(first_layer, expert.widths.size()); ++l) {
      if (expert.widths[l] != 0) {
        return InvalidArgument(
            "{}: expert {} has weights in layer {}, below the stored trunk "
            "(layer {}); evaluate without trunk_path",
            model.directory.string(), expert.contribution, l, first_layer);
      }
    }
  }
  return absl::OkStatus();
}

StatusOr<model::CausalLm> LoadEvaluated(const model::CausalLm& anchor,
                                        const EvaluateDomainOptions& options,
                                        const EvaluatedModel& model) {
  const int64_t first_layer =
      options.trunk_path.empty() ? 0 : options.first_layer;
  const model::LoadOptions load = {.first_layer = first_layer,
                                   .device = anchor.device()};
  model::CausalLm lm;
  if (model::IsRelease(model.directory)) {
    RETURN_IF_ERROR(CheckRelease(model, first_layer));
    ASSIGN_OR_RETURN(lm, model::LoadModel(model.directory, load));
  } else {
    if (model.directory.lexically_normal() !=
        options.anchor_directory.lexically_normal()) {
      return InvalidArgument(
          "model {}: got {}, wanted the anchor {} or a native release over it",
          model.label, model.directory.string(),
          options.anchor_directory.string());
    }
    lm = anchor;
    lm.top_k = 2;
    lm.renormalise = model_format::MergedNormTopkProb(anchor.config);
  }
  if (!model.router_paths.empty() &&
      model.router_paths.size() != model.expert_paths.size()) {
    return InvalidArgument("model {}: got {} router files for {} experts",
                           model.label, model.router_paths.size(),
                           model.expert_paths.size());
  }
  for (size_t i = 0; i < model.expert_paths.size(); ++i) {
    ASSIGN_OR_RETURN(model::Expert expert,
                     model::LoadExpertBeside(anchor, model.expert_paths[i],
                                             model.router_paths.empty()
                                                 ? std::filesystem::path()
                                                 : model.router_paths[i],
                                             {.device = anchor.device()}));
    const std::vector<int64_t> widths = expert.widths();
    for (int64_t l = 0; l < first_layer; ++l) {
      if (widths[l] != 0) {
        return InvalidArgument(
            "{}: has weights in layer {}, below the stored trunk (layer {}); "
            "evaluate without trunk_path",
            model.expert_paths[i].string(), l, first_layer);
      }
    }
    RETURN_IF_ERROR(model::AttachExpert(lm, std::move(expert)));
  }
  if (model.top_k > 0) {
    lm.top_k = model.top_k;
  }
  lm.force_public = model.force_public;
  return lm;
}

// The anchor's states in front of `first_layer` for all windows.
Tensor ComputeTrunk(const model::CausalLm& anchor, const Tensor& ids_WS,
                    const Tensor& documents_WS, int64_t first_layer) {
  const at::NoGradGuard no_grad;
  Tensor trunk =
      at::empty({ids_WS.size(0), ids_WS.size(1), anchor.config.hidden_size},
                at::TensorOptions(at::kFloat).device(anchor.device()));
  for (int64_t begin = 0; begin < ids_WS.size(0); begin += kTrunkWindows) {
    const int64_t count = std::min(kTrunkWindows, ids_WS.size(0) - begin);
    trunk.narrow(0, begin, count)
        .copy_(model::RunLayers(
            anchor, model::Embed(anchor, ids_WS.narrow(0, begin, count)), 0,
            first_layer,
            {.documents_BS = documents_WS.defined()
                                 ? documents_WS.narrow(0, begin, count)
                                 : Tensor()}));
  }
  return trunk;
}

}  // namespace

StatusOr<std::vector<EvaluatedLoss>> EvaluateDomain(
    const model::CausalLm& anchor, const EvaluateDomainOptions& options) {
  if (options.models.empty()) {
    return InvalidArgument("models: got none, wanted at least one");
  }
  TrunkWindows data;
  if (!options.trunk_path.empty()) {
    ASSIGN_OR_RETURN(data,
                     LoadTrunkWindows({.tokens_path = options.tokens_path,
                                       .trunk_path = options.trunk_path,
                                       .first_layer = options.first_layer},
                                      options.split, anchor));
  } else {
    ASSIGN_OR_RETURN(const auto file, OpenTensorFile(options.tokens_path));
    ASSIGN_OR_RETURN(data.ids_BS, ReadTokenIds(file, options.split,
                                               anchor.config.vocab_size));
    ASSIGN_OR_RETURN(data.documents_BS,
                     ReadDocuments(file, options.split, data.ids_BS));
  }
  return model::CatchTorch([&]() -> StatusOr<std::vector<EvaluatedLoss>> {
    std::vector<model::CausalLm> models;
    int64_t first_layer = anchor.num_layers();
    for (const EvaluatedModel& model : options.models) {
      ASSIGN_OR_RETURN(model::CausalLm lm,
                       LoadEvaluated(anchor, options, model));
      first_layer = std::min(first_layer, FirstRoutedLayer(lm));
      models.push_back(std::move(lm));
    }
    if (!data.trunk_BSD.defined()) {
      data.first_layer = first_layer;
      data.trunk_BSD =
          ComputeTrunk(anchor, data.ids_BS, data.documents_BS, first_layer);
    }
    std::vector<EvaluatedLoss> losses;
    for (size_t i = 0; i < models.size(); ++i) {
      RETURN_IF_ERROR(options.report(static_cast<double>(i) / models.size()));
      ASSIGN_OR_RETURN(
          evaluation::LogLoss loss,
          evaluation::EvaluateWindows(models[i], data.ids_BS,
                                      {.trunk_WSD = data.trunk_BSD,
                                       .first_layer = data.first_layer,
                                       .documents_WS = data.documents_BS}));
      losses.push_back({.label = options.models[i].label,
                        .log_loss = loss.mean,
                        .tokens = loss.tokens,
                        .window_losses = std::move(loss.window_means)});
    }
    return losses;
  });
}

}  // namespace tributary::contributor
