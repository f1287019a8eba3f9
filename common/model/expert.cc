#include <cstddef>
#include <span>
#include <utility>

#include "common/model/errors.h"
#include "common/model/expert_beside.h"
#include "common/model/load.h"
#include "common/model/tensor_io.h"
#include "common/model_format/low_rank.h"
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

// A matrix that the file gives as a difference to `base` [rows, columns].
StatusOr<Tensor> ReadDifference(const File& file, int64_t l, MlpPart part,
                                const Tensor& base, const LoadOptions& options,
                                size_t* used) {
  const std::string names[] = {model_format::ExpertFactorA(l, part),
                               model_format::ExpertFactorB(l, part)};
  const safetensors::TensorInfo* factors[] = {file.Find(names[0]),
                                              file.Find(names[1])};
  const int64_t rank = factors[0] != nullptr && !factors[0]->shape.empty()
                           ? factors[0]->shape[0]
                           : 0;
  const safetensors::Shape shapes[] = {{rank, base.size(1)},
                                       {base.size(0), rank}};
  for (int i = 0; i < 2; ++i) {
    if (factors[i] == nullptr || rank < 1) {
      return InvalidArgument("{}: has no usable tensor \"{}\"",
                             file.path().string(), names[i]);
    }
    RETURN_IF_ERROR(CheckShape(file, names[i], *factors[i], shapes[i]));
    if (factors[i]->dtype != safetensors::DType::kBF16) {
      return InvalidArgument("{}: \"{}\" is {}, wanted BF16",
                             file.path().string(), names[i],
                             safetensors::DTypeName(factors[i]->dtype));
    }
  }
  const Tensor host = base.to(at::kCPU).contiguous();
  ASSIGN_OR_RETURN(const safetensors::DType base_dtype,
                   FromScalarType(host.scalar_type()));
  Tensor out = at::empty(host.sizes(), at::kBFloat16);
  const auto bytes = [](const Tensor& tensor) {
    return std::span(static_cast<std::byte*>(tensor.data_ptr()),
                     tensor.nbytes());
  };
  RETURN_IF_ERROR(model_format::ExpandRows({.rows = host.size(0),
                                            .columns = host.size(1),
                                            .rank = rank,
                                            .base_dtype = base_dtype,
                                            .base = bytes(host),
                                            .a = file.Bytes(*factors[0]),
                                            .b = file.Bytes(*factors[1])},
                                           0, host.size(0), bytes(out)));
  *used += 2;
  return out.to(at::TensorOptions(options.device).dtype(options.dtype));
}

// A layer's gated MLP that the file gives as differences to the anchor's.
StatusOr<std::optional<Ffn>> ReadDifferences(const CausalLm* anchor,
                                             const File& file, int64_t l,
                                             const LoadOptions& options,
                                             size_t* used) {
  if (anchor == nullptr || l >= anchor->num_layers() ||
      !anchor->layers[static_cast<size_t>(l)].ffn.gate_FD.defined()) {
    return FailedPrecondition(
        "{}: layer {} is given as differences to an anchor's FFN, which is not "
        "at hand",
        file.path().string(), l);
  }
  const Ffn& base = anchor->layers[static_cast<size_t>(l)].ffn;
  const auto read = [&](MlpPart part, const Tensor& of) {
    return ReadDifference(file, l, part, of, options, used);
  };
  Ffn ffn;
  ASSIGN_OR_RETURN(ffn.gate_FD, read(MlpPart::kGate, base.gate_FD));
  ASSIGN_OR_RETURN(ffn.up_FD, read(MlpPart::kUp, base.up_FD));
  ASSIGN_OR_RETURN(ffn.down_DF, read(MlpPart::kDown, base.down_DF));
  return std::optional<Ffn>(std::move(ffn));
}

// One layer's gated MLP, or nothing where the file has none. Adds the tensors
// it used to `used`. `beside`: the model with the anchor's FFNs, or null.
StatusOr<std::optional<Ffn>> ReadMlp(const ModelConfig& anchor,
                                     const CausalLm* beside, const File& file,
                                     int64_t l, const LoadOptions& options,
                                     size_t* used) {
  const auto find = [&](MlpPart part) {
    return file.Find(model_format::ExpertMlp(l, part));
  };
  const auto* gate = find(MlpPart::kGate);
  if (gate == nullptr) {
    return file.Find(model_format::ExpertFactorA(l, MlpPart::kGate)) == nullptr
               ? StatusOr<std::optional<Ffn>>(std::nullopt)
               : ReadDifferences(beside, file, l, options, used);
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

StatusOr<Expert> Load(const ModelConfig& anchor, const CausalLm* beside,
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
                       ReadMlp(anchor, beside, *file, l, options, &used));
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
  return Load(anchor, nullptr, path, router_path, options);
}

StatusOr<Expert> LoadExpertBeside(const CausalLm& anchor,
                                  const std::filesystem::path& path,
                                  const std::filesystem::path& router_path,
                                  const LoadOptions& options) {
  return Load(anchor.config, &anchor, path, router_path, options);
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
