#include <utility>

#include "common/model/errors.h"
#include "common/model/load.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"

namespace tributary::model {
namespace {

using model_format::MlpPart;
using model_format::ModelConfig;
using safetensors::File;

Status CheckShape(const File& file, const std::string& name,
                  const safetensors::TensorInfo& info,
                  const safetensors::Shape& wanted) {
  if (info.shape == wanted && safetensors::IsFloatingPoint(info.dtype)) {
    return absl::OkStatus();
  }
  return InvalidArgument(
      "{}: \"{}\" is {} {}, wanted floating point {}: it belongs to another "
      "anchor",
      file.path().string(), name, safetensors::DTypeName(info.dtype),
      info.shape.ToString(), wanted.ToString());
}

// One layer's gated MLP, or nothing where the file has none. Adds the tensors
// it used to `used`.
StatusOr<std::optional<Ffn>> ReadMlp(const ModelConfig& anchor,
                                     const File& file, int64_t l,
                                     const LoadOptions& options, size_t* used) {
  const auto find = [&](MlpPart part) {
    return file.Find(model_format::ExpertMlp(l, part));
  };
  const auto* gate = find(MlpPart::kGate);
  if (gate == nullptr) {
    return std::optional<Ffn>();
  }
  const int64_t width = gate->shape.empty() ? 0 : gate->shape[0];
  if (width < 1 || width > anchor.intermediate_size) {
    return InvalidArgument(
        "{}: layer {} has width {}, wanted 1 to {} as the anchor's FFN",
        file.path().string(), l, width, anchor.intermediate_size);
  }
  Ffn ffn;
  for (const auto& [part, to] : {std::pair{MlpPart::kGate, &ffn.gate_FD},
                                 std::pair{MlpPart::kUp, &ffn.up_FD},
                                 std::pair{MlpPart::kDown, &ffn.down_DF}}) {
    const std::string name = model_format::ExpertMlp(l, part);
    const auto* info = find(part);
    if (info == nullptr) {
      return InvalidArgument("{}: has no tensor \"{}\"", file.path().string(),
                             name);
    }
    const int64_t h = anchor.hidden_size;
    RETURN_IF_ERROR(CheckShape(file, name, *info,
                               part == MlpPart::kDown
                                   ? safetensors::Shape{h, width}
                                   : safetensors::Shape{width, h}));
    ASSIGN_OR_RETURN(const Tensor weight,
                     ReadTensor(file, *info, options.dtype));
    *to = weight.to(options.device);
    ++*used;
  }
  return std::optional<Ffn>(std::move(ffn));
}

// A row and its bias, or undefined tensors where the file has none.
Status ReadRow(const ModelConfig& anchor, const File& file, int64_t l,
               const LoadOptions& options, Tensor* row, Tensor* bias,
               size_t* used) {
  const std::string name = model_format::RouterWeight(l);
  const std::string bias_name = model_format::RouterBias(l);
  const auto* row_info = file.Find(name);
  if (row_info != nullptr) {
    RETURN_IF_ERROR(CheckShape(file, name, *row_info, {anchor.hidden_size}));
    ASSIGN_OR_RETURN(*row, ReadTensor(file, *row_info, at::kFloat));
    *row = row->to(options.device);
    ++*used;
  }
  const auto* bias_info = file.Find(bias_name);
  if (bias_info != nullptr) {
    RETURN_IF_ERROR(CheckShape(file, bias_name, *bias_info, {}));
    ASSIGN_OR_RETURN(*bias, ReadTensor(file, *bias_info, at::kFloat));
    *bias = bias->to(options.device);
    ++*used;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<int64_t> Expert::widths() const {
  std::vector<int64_t> widths;
  for (const auto& layer : layers) {
    widths.push_back(layer.has_value() ? layer->width() : 0);
  }
  return widths;
}

StatusOr<Expert> LoadExpert(const ModelConfig& anchor,
                            const std::filesystem::path& path,
                            const std::filesystem::path& router_path,
                            const LoadOptions& options) {
  return CatchTorch([&]() -> StatusOr<Expert> {
    ASSIGN_OR_RETURN(const auto file, File::Open(path));
    std::shared_ptr<const File> routers = file;
    if (!router_path.empty()) {
      ASSIGN_OR_RETURN(routers, File::Open(router_path));
    }
    Expert expert;
    expert.name = path.stem().string();
    size_t used = 0;
    size_t own_rows = 0;
    for (int64_t l = 0; l < anchor.num_layers; ++l) {
      ASSIGN_OR_RETURN(std::optional<Ffn> ffn,
                       ReadMlp(anchor, *file, l, options, &used));
      Tensor row;
      Tensor bias;
      RETURN_IF_ERROR(
          ReadRow(anchor, *file, l, options, &row, &bias, &own_rows));
      if (!router_path.empty()) {
        size_t replaced = 0;
        row = bias = Tensor();
        RETURN_IF_ERROR(
            ReadRow(anchor, *routers, l, options, &row, &bias, &replaced));
      }
      if (!row.defined()) {
        if (ffn.has_value()) {
          return InvalidArgument(
              "{}: has no tensor \"{}\", the expert's router row",
              routers->path().string(), model_format::RouterWeight(l));
        }
        row = at::zeros({anchor.hidden_size},
                        at::TensorOptions(options.device).dtype(at::kFloat));
      }
      expert.layers.push_back(std::move(ffn));
      expert.router_D.push_back(row);
      expert.router_bias.push_back(
          bias.defined() ? bias : at::zeros({}, row.options()));
    }
    if (used + own_rows != file->tensors().size()) {
      return InvalidArgument(
          "{}: holds {} tensors, {} of them belong to an expert of this "
          "anchor",
          path.string(), file->tensors().size(), used + own_rows);
    }
    return expert;
  });
}

Status AttachExpert(CausalLm& lm, Expert expert) {
  return CatchTorch([&]() -> Status {
    if (static_cast<int64_t>(expert.layers.size()) != lm.num_layers()) {
      return InvalidArgument("the expert has {} layers, the model {}",
                             expert.layers.size(), lm.num_layers());
    }
    for (const DecoderLayer& layer : lm.layers) {
      if (layer.loaded() && !layer.ffn.gate_FD.defined()) {
        return FailedPrecondition(
            "the model is a finished mixture; experts are put beside an "
            "anchor or a native release");
      }
    }
    for (size_t l = 0; l < lm.layers.size(); ++l) {
      DecoderLayer& layer = lm.layers[l];
      const Tensor row = expert.router_D[l].unsqueeze(0);
      const Tensor bias = expert.router_bias[l].reshape({1});
      if (layer.experts.empty()) {
        layer.experts.emplace_back();
        layer.router_ED = at::zeros_like(row);
      }
      const auto experts = static_cast<int64_t>(layer.experts.size());
      layer.experts.push_back(std::move(expert.layers[l]));
      layer.router_ED = at::cat({layer.router_ED, row});
      const bool biased = bias.count_nonzero().item<int64_t>() != 0;
      if (biased || layer.router_bias_E.defined()) {
        const Tensor before = layer.router_bias_E.defined()
                                  ? layer.router_bias_E
                                  : at::zeros({experts}, bias.options());
        layer.router_bias_E = at::cat({before, bias});
      }
    }
    lm.expert_names.push_back(std::move(expert.name));
    return absl::OkStatus();
  });
}

}  // namespace tributary::model
