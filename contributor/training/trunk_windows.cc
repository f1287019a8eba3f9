#include "contributor/training/trunk_windows.h"

#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {

using at::Tensor;

StatusOr<TrunkWindows> LoadTrunkWindows(const TrunkFiles& files,
                                        const std::string& split,
                                        const model::CausalLm& lm) {
  TrunkWindows data{.first_layer = files.first_layer};
  if (files.first_layer < 0 || files.first_layer >= lm.num_layers()) {
    return InvalidArgument("first_layer: got {}, wanted 0 to {}",
                           files.first_layer, lm.num_layers() - 1);
  }
  ASSIGN_OR_RETURN(const auto tokens, OpenTensorFile(files.tokens_path));
  ASSIGN_OR_RETURN(data.ids_BS,
                   ReadTokenIds(tokens, split, lm.config.vocab_size));
  ASSIGN_OR_RETURN(const auto trunk, OpenTensorFile(files.trunk_path));
  const auto layer = trunk->metadata().find("first_layer");
  if (layer != trunk->metadata().end() &&
      layer->second != std::to_string(files.first_layer)) {
    return InvalidArgument(
        "{}: holds the states in front of layer {}, wanted those of {}; "
        "calibrate again",
        files.trunk_path.string(), layer->second, files.first_layer);
  }
  ASSIGN_OR_RETURN(data.trunk_BSD,
                   MapFloats(trunk, split,
                             {data.ids_BS.size(0), data.ids_BS.size(1),
                              lm.config.hidden_size}));
  return data;
}

WindowBatch TakeBatch(const TrunkWindows& data,
                      const std::vector<int64_t>& windows, at::Device device) {
  const Tensor rows = at::tensor(windows, at::TensorOptions().dtype(at::kLong));
  const Tensor ids = data.ids_BS.index_select(0, rows);
  return {.windows = windows,
          .trunk_BSD = data.trunk_BSD.index_select(0, rows).to(device),
          .targets_T =
              ids.narrow(1, 1, data.length() - 1).reshape({-1}).to(device)};
}

Tensor HiddenOfBatch(const model::CausalLm& lm, int64_t first_layer,
                     const WindowBatch& batch,
                     const model::RunOptions& options) {
  const Tensor x = model::RunLayers(lm, batch.trunk_BSD, first_layer,
                                    lm.num_layers(), options);
  return model::FinalNorm(lm, x)
      .narrow(1, 0, x.size(1) - 1)
      .reshape({x.size(0) * (x.size(1) - 1), x.size(2)});
}

}  // namespace tributary::contributor
