#include "contributor/calibration/fit_router.h"

#include <cmath>
#include <map>

#include "common/model/errors.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using Class = ActivationSamples::Class;
using FilePointer = std::shared_ptr<const safetensors::File>;

// The names of all tensors of a file that hold activations of `layer`.
std::vector<std::string> ClassesOf(const safetensors::File& file,
                                   const std::string& prefix) {
  std::vector<std::string> names;
  for (const safetensors::TensorInfo& tensor : file.tensors()) {
    if (tensor.name.starts_with(prefix) && tensor.shape.size() == 2) {
      names.push_back(tensor.name);
    }
  }
  return names;
}

// Own and public activations of one layer, one block of rows. `buffer` is used
// again from layer to layer.
StatusOr<ActivationSamples> Gather(const FilePointer& own,
                                   const FilePointer& background, int64_t layer,
                                   int64_t width, Tensor* buffer) {
  const std::string prefix = fmt::format("layers.{}.", layer);
  std::vector<Tensor> parts;
  ActivationSamples samples;
  int64_t rows = 0;
  const auto add = [&](const FilePointer& file, const std::string& name,
                       Class::Kind kind) -> Status {
    ASSIGN_OR_RETURN(const Tensor part, MapTensor(file, name));
    if (part.dim() != 2 || part.size(1) != width || part.size(0) == 0 ||
        !part.is_floating_point()) {
      return InvalidArgument(
          "{}: tensor {} is not floating point [tokens, {}]; was it made with "
          "another anchor?",
          file->path().string(), name, width);
    }
    samples.classes.push_back({.kind = kind,
                               .name = name.substr(prefix.size()),
                               .begin = rows,
                               .end = rows + part.size(0)});
    rows += part.size(0);
    parts.push_back(part);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add(own, prefix + "x", Class::Kind::kOwn));
  for (const std::string& name : ClassesOf(*background, prefix)) {
    RETURN_IF_ERROR(add(background, name,
                        name == prefix + "prose" ? Class::Kind::kProse
                                                 : Class::Kind::kBackground));
  }
  if (!buffer->defined() || buffer->size(0) < rows) {
    *buffer = at::empty({rows, width}, at::kFloat);
  }
  samples.x_TD = buffer->slice(0, 0, rows);
  for (size_t i = 0; i < parts.size(); ++i) {
    samples.x_TD.slice(0, samples.classes[i].begin, samples.classes[i].end)
        .copy_(parts[i]);
  }
  return samples;
}

Status WriteRows(const std::filesystem::path& path,
                 const std::vector<RouterRow>& rows) {
  NamedTensors tensors;
  for (size_t l = 0; l < rows.size(); ++l) {
    tensors.emplace_back(model_format::RouterWeight(l), rows[l].weight_D);
    tensors.emplace_back(
        model_format::RouterBias(l),
        at::full({}, rows[l].bias, at::TensorOptions(at::kFloat)));
  }
  return WriteTensors(path, tensors);
}

}  // namespace

StatusOr<std::vector<FittedLayer>> FitRouter(
    const model_format::ModelConfig& anchor, const FitRouterOptions& options,
    const std::filesystem::path& folded_path,
    const std::filesystem::path& unfolded_path,
    const std::function<Status(double)>& report) {
  if (options.first_layer < 0 || options.first_layer >= anchor.num_layers) {
    return InvalidArgument("first_layer: got {}, wanted 0 to {}",
                           options.first_layer, anchor.num_layers - 1);
  }
  ASSIGN_OR_RETURN(const FilePointer own,
                   OpenTensorFile(options.activations_path));
  ASSIGN_OR_RETURN(const FilePointer background,
                   OpenTensorFile(options.public_statistics_path));
  return model::CatchTorch([&]() -> StatusOr<std::vector<FittedLayer>> {
    const Tensor zero = at::zeros({anchor.hidden_size}, at::kFloat);
    std::vector<RouterRow> folded(anchor.num_layers, RouterRow{zero, 0});
    std::vector<RouterRow> unfolded = folded;
    std::vector<FittedLayer> fitted;
    Tensor buffer;
    for (int64_t l = options.first_layer; l < anchor.num_layers; ++l) {
      ASSIGN_OR_RETURN(const ActivationSamples samples,
                       Gather(own, background, l, anchor.hidden_size, &buffer));
      auto result = FitDiscriminant(samples, options.discriminant);
      if (!result.ok()) {
        return Annotate(result.status(), fmt::format("layer {}", l));
      }
      folded[l] = result->folded;
      unfolded[l] = result->unfolded;
      fitted.push_back({l, *std::move(result)});
      RETURN_IF_ERROR(report(static_cast<double>(fitted.size()) /
                             (anchor.num_layers - options.first_layer)));
    }
    RETURN_IF_ERROR(WriteRows(folded_path, folded));
    RETURN_IF_ERROR(WriteRows(unfolded_path, unfolded));
    return fitted;
  });
}

}  // namespace tributary::contributor
