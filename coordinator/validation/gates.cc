#include "coordinator/validation/gates.h"

#include <algorithm>
#include <cmath>

#include "common/evaluation/log_loss.h"
#include "common/model/tensor_io.h"
#include "common/model_format/expert_layout.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;
using model::Expert;
using model::Ffn;

GateResult Passed(std::string name, std::string detail) {
  return {.name = std::move(name), .passed = true, .detail = std::move(detail)};
}

void Fail(GateResult& gate, std::string detail) {
  if (gate.passed) {
    gate.passed = false;
    gate.detail = std::move(detail);
  }
}

// Records a measurement and fails the gate where it is beyond its maximum.
void Bound(GateResult& gate, const std::string& name, double value,
           double maximum, const std::string& where) {
  gate.measurements.push_back(
      {.name = name, .value = value, .maximum = maximum});
  if (!(value <= maximum)) {
    Fail(gate, fmt::format("{}: got {:.4g}{}, wanted at most {:.4g}", name,
                           value, where, maximum));
  }
}

struct Size {
  double rms = 0;
  double largest = 0;
};

Size SizeOf(const Tensor& tensor) {
  const Tensor wide = tensor.to(at::kFloat);
  const auto count = static_cast<double>(std::max<int64_t>(1, wide.numel()));
  return {.rms = wide.norm().item<double>() / std::sqrt(count),
          .largest = wide.abs().max().item<double>()};
}

bool AllFinite(const Tensor& tensor) {
  return at::isfinite(tensor).all().item<bool>();
}

constexpr struct {
  const char* name;
  Tensor Ffn::*tensor;
} kParts[] = {{"gate_proj", &Ffn::gate_FD},
              {"up_proj", &Ffn::up_FD},
              {"down_proj", &Ffn::down_DF}};

// [tokens, D] -> [tokens, D]: down(silu(gate(x)) * up(x)).
Tensor OutputOf(const Ffn& ffn, const Tensor& x) {
  return at::mm(
      at::silu(at::mm(x, ffn.gate_FD.t())).mul_(at::mm(x, ffn.up_FD.t())),
      ffn.down_DF.t());
}

// Public activations that a router sees in a layer, [tokens, D].
StatusOr<Tensor> ProseInputs(const safetensors::File& statistics, size_t layer,
                             int64_t width) {
  const std::string name = fmt::format("layers.{}.prose", layer);
  ASSIGN_OR_RETURN(const Tensor x,
                   model::ReadTensor(statistics, name, at::kFloat));
  if (x.dim() != 2 || x.size(0) < 1 || x.size(1) != width) {
    return InvalidArgument("{}: \"{}\" is not [tokens, {}]",
                           statistics.path().string(), name, width);
  }
  return x;
}

}  // namespace

GateResult CheckFile(const model_format::ModelConfig& anchor,
                     const ValidateExpertOptions& options,
                     std::shared_ptr<const safetensors::File>* file) {
  GateResult gate = Passed("file", "");
  auto opened = safetensors::File::Open(
      options.expert_path, {.limits = safetensors::HeaderLimits::ForExpert()});
  if (!opened.ok()) {
    Fail(gate, std::string(opened.status().message()));
    return gate;
  }
  const auto layout =
      model_format::ReadExpertLayout(anchor, (*opened)->tensors());
  if (!layout.ok()) {
    Fail(gate, std::string(layout.status().message()));
    return gate;
  }
  if (layout->widths != options.widths) {
    Fail(gate, "the widths in the file are not those of the manifest");
  }
  if (!(*opened)->metadata().empty()) {
    Fail(gate, fmt::format("the file has {} entries of metadata, wanted none",
                           (*opened)->metadata().size()));
  }
  gate.measurements.push_back(
      {.name = "tensors",
       .value = static_cast<double>((*opened)->tensors().size())});
  gate.measurements.push_back(
      {.name = "bytes", .value = static_cast<double>((*opened)->file_bytes())});
  if (gate.passed) {
    gate.detail = "names, dtypes, shapes and widths are as the manifest says";
    *file = *std::move(opened);
  }
  return gate;
}

StatusOr<GateResult> CheckValues(const model::CausalLm& anchor,
                                 const Expert& expert,
                                 const ValidationLimits& limits) {
  GateResult gate = Passed("values", "all values are finite and of usual size");
  double rms_ratio = 0;
  double absolute_ratio = 0;
  std::string rms_where;
  std::string absolute_where;
  for (size_t l = 0; l < expert.layers.size(); ++l) {
    if (!AllFinite(expert.router_D[l]) || !AllFinite(expert.router_bias[l])) {
      Fail(gate, fmt::format("layer {}: the router row is not finite", l));
    }
    if (!expert.layers[l].has_value()) {
      continue;
    }
    for (const auto& part : kParts) {
      const Tensor& weight = *expert.layers[l].*part.tensor;
      if (!AllFinite(weight)) {
        Fail(gate, fmt::format("layer {}: {} has values that are not finite", l,
                               part.name));
        return gate;
      }
      const Size own = SizeOf(weight);
      const Size reference = SizeOf(anchor.layers[l].ffn.*part.tensor);
      const std::string where = fmt::format(" in layer {}, {}", l, part.name);
      if (own.rms / reference.rms > rms_ratio) {
        rms_ratio = own.rms / reference.rms;
        rms_where = where;
      }
      if (own.largest / reference.largest > absolute_ratio) {
        absolute_ratio = own.largest / reference.largest;
        absolute_where = where;
      }
    }
  }
  Bound(gate, "rms_ratio", rms_ratio, limits.max_rms_ratio, rms_where);
  Bound(gate, "absolute_ratio", absolute_ratio, limits.max_absolute_ratio,
        absolute_where);
  return gate;
}

StatusOr<GateResult> CheckRouter(const Expert& expert,
                                 const safetensors::File& statistics,
                                 const ValidationLimits& limits) {
  GateResult gate = Passed("router", "the rows leave public prose alone");
  double norm = 0;
  std::string norm_where;
  double share = 0;
  double highest_share = 0;
  int64_t layers = 0;
  for (size_t l = 0; l < expert.layers.size(); ++l) {
    const Tensor& row = expert.router_D[l];
    const double row_norm = row.norm().item<double>();
    if (!(row_norm <= norm)) {
      norm = row_norm;
      norm_where = fmt::format(" in layer {}", l);
    }
    if (!expert.layers[l].has_value()) {
      continue;
    }
    const std::string name = fmt::format("layers.{}.prose", l);
    if (statistics.Find(name) == nullptr) {
      Fail(gate, fmt::format("layer {}: the anchor has no public statistics, "
                             "its experts begin in a higher layer",
                             l));
      continue;
    }
    ASSIGN_OR_RETURN(const Tensor x, ProseInputs(statistics, l, row.size(0)));
    const double layer_share = at::sigmoid(at::mv(x, row.to(at::kCPU)) +
                                           expert.router_bias[l].to(at::kCPU))
                                   .mean()
                                   .item<double>();
    share += layer_share;
    highest_share = std::max(highest_share, layer_share);
    ++layers;
  }
  Bound(gate, "row_norm", norm, limits.max_row_norm, norm_where);
  Bound(gate, "public_share",
        layers > 0 ? share / static_cast<double>(layers) : 0.0,
        limits.max_public_share, "");
  gate.measurements.push_back(
      {.name = "highest_layer_share", .value = highest_share});
  return gate;
}

StatusOr<GateResult> CheckBehaviour(const model::CausalLm& anchor,
                                    const Expert& expert,
                                    const safetensors::File& statistics,
                                    const ValidationLimits& limits) {
  GateResult gate = Passed("behaviour", "its outputs are of usual size");
  at::NoGradGuard no_gradients;
  double highest = 0;
  std::string where;
  double sum = 0;
  int64_t layers = 0;
  for (size_t l = 0; l < expert.layers.size(); ++l) {
    if (!expert.layers[l].has_value()) {
      continue;
    }
    const Ffn& reference = anchor.layers[l].ffn;
    ASSIGN_OR_RETURN(Tensor x,
                     ProseInputs(statistics, l, reference.gate_FD.size(1)));
    x = x.to(reference.gate_FD.options());
    const auto norms = [&x](const Ffn& ffn) {
      return OutputOf(ffn, x).to(at::kFloat).norm(2, /*dim=*/1);
    };
    // An anchor's output of almost nothing is no measure: one of usual size.
    const Tensor usual = norms(reference);
    const Tensor ratio = norms(*expert.layers[l]) /
                         usual.clamp_min(usual.median().item<double>() / 16);
    if (!AllFinite(ratio)) {
      Fail(gate, fmt::format("layer {}: outputs are not finite", l));
      return gate;
    }
    if (const double largest = ratio.max().item<double>(); largest > highest) {
      highest = largest;
      where = fmt::format(" in layer {}", l);
    }
    sum += ratio.mean().item<double>();
    ++layers;
  }
  Bound(gate, "output_ratio", highest, limits.max_output_ratio, where);
  Bound(gate, "mean_output_ratio",
        layers > 0 ? sum / static_cast<double>(layers) : 0.0,
        limits.max_mean_output_ratio, "");
  return gate;
}

StatusOr<GateResult> CheckEvaluation(const model::CausalLm& anchor,
                                     Expert expert, const Tensor& heldout_WS,
                                     const ValidateExpertOptions& options) {
  GateResult gate = Passed("evaluation", "public text is as before");
  int64_t first = 0;
  while (first < anchor.num_layers() &&
         !expert.layers[static_cast<size_t>(first)].has_value()) {
    ++first;
  }
  evaluation::LogLossOptions log_loss = {
      .first_layer = first, .cancellation = options.load.cancellation};
  {
    // Below the first expert both models are the same.
    at::NoGradGuard no_gradients;
    std::vector<Tensor> trunk;
    for (int64_t w = 0; w < heldout_WS.size(0); ++w) {
      if (log_loss.cancellation != nullptr) {
        RETURN_IF_ERROR(log_loss.cancellation->Check());
      }
      trunk.push_back(model::RunLayers(
          anchor, model::Embed(anchor, heldout_WS.narrow(0, w, 1)), 0, first));
    }
    log_loss.trunk_WSD = at::cat(trunk);
  }
  ASSIGN_OR_RETURN(const evaluation::LogLoss before,
                   evaluation::EvaluateWindows(anchor, heldout_WS, log_loss));
  model::CausalLm merged = anchor;
  RETURN_IF_ERROR(model::AttachExpert(merged, std::move(expert)));
  ASSIGN_OR_RETURN(const evaluation::LogLoss after,
                   evaluation::EvaluateWindows(merged, heldout_WS, log_loss));
  gate.measurements.push_back(
      {.name = "anchor_log_loss", .value = before.mean});
  gate.measurements.push_back({.name = "expert_log_loss", .value = after.mean});
  if (!std::isfinite(after.mean)) {
    Fail(gate, "the log-loss with the expert is not finite");
  }
  Bound(gate, "public_loss_increase", after.mean - before.mean,
        options.limits.max_public_loss_increase, " nats per token");
  return gate;
}

}  // namespace tributary::coordinator
