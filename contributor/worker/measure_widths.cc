#include "contributor/worker/measure_widths.h"

#include "common/evaluation/log_loss.h"
#include "common/model/load.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

Tensor Matrix(const std::vector<float>& values, at::IntArrayRef sizes,
              at::Device device) {
  return at::from_blob(const_cast<float*>(values.data()), sizes,
                       at::TensorOptions(at::kFloat))
      .to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

struct Prefixes {
  model::CausalLm anchor;
  model::Expert expert;  // all channels
  TrunkWindows heldout;

  StatusOr<double> Measure(const model_format::ExpertLayout& layout) const {
    const at::NoGradGuard no_grad;
    model::Expert narrow = expert;
    for (size_t l = 0; l < layout.widths.size(); ++l) {
      const int64_t width = layout.widths[l];
      auto& ffn = narrow.layers[l];
      if (width == 0) {
        ffn.reset();
      } else if (ffn) {
        ffn = model::Ffn{
            .gate_FD = ffn->gate_FD.narrow(0, 0, width),
            .up_FD = ffn->up_FD.narrow(0, 0, width),
            .down_DF = ffn->down_DF.narrow(1, 0, width).contiguous()};
      }
    }
    model::CausalLm lm = anchor;
    lm.top_k = 2;
    lm.renormalise = model_format::MergedNormTopkProb(anchor.config);
    RETURN_IF_ERROR(model::AttachExpert(lm, std::move(narrow)));
    ASSIGN_OR_RETURN(
        const evaluation::LogLoss loss,
        evaluation::EvaluateWindows(lm, heldout.ids_BS,
                                    {.trunk_WSD = heldout.trunk_BSD,
                                     .first_layer = heldout.first_layer}));
    return loss.mean;
  }
};

}  // namespace

StatusOr<MeasureWidths> MeasurePrefixes(
    const model::CausalLm& anchor, PrunedExpert pruned,
    const std::filesystem::path& router_path, const TrunkFiles& files) {
  auto prefixes = std::make_shared<Prefixes>();
  prefixes->anchor = anchor;
  ASSIGN_OR_RETURN(prefixes->heldout,
                   LoadTrunkWindows(files, "heldout", anchor));
  const int64_t hidden = anchor.config.hidden_size;
  const at::Device device = anchor.device();
  ASSIGN_OR_RETURN(const auto rows, OpenTensorFile(router_path));
  model::Expert& expert = prefixes->expert;
  expert.name = "expert";
  expert.layers.resize(anchor.num_layers());
  for (int64_t l = 0; l < anchor.num_layers(); ++l) {
    ASSIGN_OR_RETURN(const Tensor weight,
                     MapFloats(rows, model_format::RouterWeight(l), {hidden}));
    ASSIGN_OR_RETURN(const Tensor bias,
                     MapFloats(rows, model_format::RouterBias(l), {}));
    expert.router_D.push_back(weight.clone().to(device));
    expert.router_bias.push_back(bias.clone().to(device));
    const LayerWeights& layer = pruned.layers[l];
    if (layer.width > 0) {
      expert.layers[l] = model::Ffn{
          .gate_FD = Matrix(layer.gate_FD, {layer.width, hidden}, device),
          .up_FD = Matrix(layer.up_FD, {layer.width, hidden}, device),
          .down_DF = Matrix(layer.down_DF, {hidden, layer.width}, device)};
    }
  }
  return [prefixes](const model_format::ExpertLayout& layout) {
    return prefixes->Measure(layout);
  };
}

}  // namespace tributary::contributor
