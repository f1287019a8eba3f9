#include "coordinator/export/fold_bias.h"

#include "common/model/errors.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

constexpr double kRidge = 1e-3;  // of the mean eigenvalue

// The public inputs of a layer are the tensors `layers.{l}.{class}`.
StatusOr<Tensor> NearlyOne(const safetensors::File& file, int64_t l,
                           int64_t width) {
  const std::string prefix = fmt::format("layers.{}.", l);
  Tensor second = at::zeros({width, width}, at::kDouble);
  Tensor sum = at::zeros({width}, at::kDouble);
  int64_t tokens = 0;
  for (const safetensors::TensorInfo& info : file.tensors()) {
    if (!info.name.starts_with(prefix) ||
        info.name == model_format::Importance(l)) {
      continue;
    }
    ASSIGN_OR_RETURN(const Tensor x,
                     model::ReadTensor(file, info, at::kDouble));
    if (x.dim() != 2 || x.size(1) != width) {
      return InvalidArgument("{}: \"{}\" is not [tokens, {}]",
                             file.path().string(), info.name, width);
    }
    second.addmm_(x.t(), x);
    sum += x.sum(0);
    tokens += x.size(0);
  }
  if (tokens == 0) {
    return FailedPrecondition(
        "{}: has no activations of layer {}, which has a router bias to fold",
        file.path().string(), l);
  }
  const double ridge =
      kRidge * second.trace().item<double>() / static_cast<double>(width);
  second.diagonal().add_(ridge);
  const Tensor factor = at::linalg_cholesky(second);
  return at::cholesky_solve(sum.unsqueeze(1), factor).squeeze(1);
}

}  // namespace

bool HasBiases(const model::CausalLm& lm) {
  for (const model::DecoderLayer& layer : lm.layers) {
    if (layer.routes() && layer.router_bias_E.defined()) {
      return true;
    }
  }
  return false;
}

Status FoldBiases(model::CausalLm& lm,
                  const std::filesystem::path& public_statistics) {
  return model::CatchTorch([&]() -> Status {
    std::shared_ptr<const safetensors::File> file;
    for (int64_t l = 0; l < lm.num_layers(); ++l) {
      model::DecoderLayer& layer = lm.layers[static_cast<size_t>(l)];
      if (layer.routes() && layer.router_bias_E.defined()) {
        if (file == nullptr) {
          ASSIGN_OR_RETURN(
              file, safetensors::File::Open(
                        public_statistics,
                        {.limits = safetensors::HeaderLimits::ForModel()}));
        }
        ASSIGN_OR_RETURN(const Tensor u,
                         NearlyOne(*file, l, lm.config.hidden_size));
        layer.router_ED = (layer.router_ED.to(at::kDouble) +
                           at::outer(layer.router_bias_E.to(at::kDouble),
                                     u.to(layer.router_ED.device())))
                              .to(at::kFloat);
      }
      layer.router_bias_E = Tensor();
    }
    return absl::OkStatus();
  });
}

}  // namespace tributary::coordinator
