#include "contributor/training/trained_expert.h"

#include "common/model_format/parameter_names.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using model_format::MlpPart;

}  // namespace

StatusOr<std::unique_ptr<TrainedExpert>> TrainedExpert::Create(
    model::CausalLm& lm, const RowTraining& rows) {
  std::unique_ptr<TrainedExpert> trained(new TrainedExpert(lm));
  NamedTensors& leaves = trained->leaves_;
  for (int64_t l = 0; l < lm.num_layers(); ++l) {
    const auto& experts = lm.layers[l].experts;
    if (!experts.empty() && experts.back().has_value()) {
      const model::Ffn& ffn = *experts.back();
      leaves.emplace_back(model_format::ExpertMlp(l, MlpPart::kGate),
                          ffn.gate_FD);
      leaves.emplace_back(model_format::ExpertMlp(l, MlpPart::kUp), ffn.up_FD);
      leaves.emplace_back(model_format::ExpertMlp(l, MlpPart::kDown),
                          ffn.down_DF);
    }
  }
  if (leaves.empty()) {
    return InvalidArgument(
        "training: the expert has no weights in any layer; wanted a width "
        "above 0");
  }
  trained->matrix_count_ = leaves.size();
  if (rows.trained) {
    trained->rows_.resize(lm.num_layers());
    for (int64_t l = 0; l < lm.num_layers(); ++l) {
      model::DecoderLayer& layer = lm.layers[l];
      if (!layer.routes()) {
        continue;
      }
      TrainedRow& row = trained->rows_[l];
      const int64_t last = layer.router_ED.size(0) - 1;
      row.row_D = layer.router_ED.select(0, last).clone();
      leaves.emplace_back(model_format::RouterWeight(l), row.row_D);
      if (rows.bias) {
        if (!layer.router_bias_E.defined()) {
          layer.router_bias_E =
              at::zeros({last + 1}, layer.router_ED.options());
        }
        row.bias_1 = layer.router_bias_E.narrow(0, last, 1).clone();
        leaves.emplace_back(model_format::RouterBias(l), row.bias_1);
      }
    }
  }
  for (auto& [name, tensor] : leaves) {
    tensor.set_requires_grad(true);
  }
  trained->Settle();
  return trained;
}

TrainedExpert::~TrainedExpert() {
  for (auto& [name, tensor] : leaves_) {
    tensor.set_requires_grad(false);
  }
}

std::vector<Tensor> TrainedExpert::parameters() const {
  std::vector<Tensor> parameters;
  for (const auto& [name, tensor] : leaves_) {
    parameters.push_back(tensor);
  }
  return parameters;
}

NamedTensors TrainedExpert::matrices() const {
  return {leaves_.begin(),
          leaves_.begin() + static_cast<std::ptrdiff_t>(matrix_count_)};
}

NamedTensors TrainedExpert::router() const {
  NamedTensors router;
  for (int64_t l = 0; l < lm_.num_layers(); ++l) {
    const model::DecoderLayer& layer = lm_.layers[l];
    const int64_t last = layer.router_ED.size(0) - 1;
    router.emplace_back(model_format::RouterWeight(l),
                        layer.router_ED.select(0, last));
    router.emplace_back(model_format::RouterBias(l),
                        layer.router_bias_E.defined()
                            ? layer.router_bias_E.select(0, last)
                            : at::zeros({}, layer.router_ED.options()));
  }
  return router;
}

void TrainedExpert::Settle() {
  const at::NoGradGuard no_grad;
  for (size_t l = 0; l < rows_.size(); ++l) {
    const TrainedRow& row = rows_[l];
    if (!row.row_D.defined()) {
      continue;
    }
    const model::DecoderLayer& layer = lm_.layers[l];
    const int64_t last = layer.router_ED.size(0) - 1;
    layer.router_ED.select(0, last).copy_(row.row_D);
    if (row.bias_1.defined()) {
      Tensor bias = row.bias_1.detach();
      bias.clamp_max_(0);
      layer.router_bias_E.narrow(0, last, 1).copy_(bias);
    }
  }
}

model::CausalLm TrainedExpert::Prefix(int64_t width) const {
  const at::NoGradGuard no_grad;
  model::CausalLm lm = lm_;
  for (model::DecoderLayer& layer : lm.layers) {
    if (!layer.experts.empty() && layer.experts.back().has_value()) {
      model::Ffn& ffn = *layer.experts.back();
      const int64_t kept = std::min(width, ffn.width());
      ffn = {.gate_FD = ffn.gate_FD.narrow(0, 0, kept),
             .up_FD = ffn.up_FD.narrow(0, 0, kept),
             .down_DF = ffn.down_DF.narrow(1, 0, kept)};
    }
  }
  return lm;
}

Status TrainedExpert::Load(const std::filesystem::path& file,
                           const NamedTensors& stored,
                           const NamedTensors& into) const {
  const at::NoGradGuard no_grad;
  if (stored.size() != into.size()) {
    return InvalidArgument("{}: got {} tensors, wanted {}", file.string(),
                           stored.size(), into.size());
  }
  for (size_t i = 0; i < into.size(); ++i) {
    const auto& [name, tensor] = stored[i];
    if (name != into[i].first ||
        !tensor.sizes().equals(into[i].second.sizes())) {
      return InvalidArgument("{}: tensor {} is not as it should be",
                             file.string(), name);
    }
    into[i].second.detach().copy_(tensor);
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor
