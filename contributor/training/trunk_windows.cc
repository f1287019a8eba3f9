#include "contributor/training/trunk_windows.h"

#include "contributor/calibration/tensor_file.h"
#include "contributor/calibration/window_documents.h"

namespace tributary::contributor {

using at::Tensor;

int64_t TrunkWindows::targets() const {
  return documents_BS.defined() ? HasTarget(documents_BS).sum().item<int64_t>()
                                : windows() * (length() - 1);
}

Tensor WindowBatch::Select(const Tensor& rows) const {
  return positions_T.defined()
             ? rows.index_select(0, positions_T.to(rows.device()))
             : rows;
}

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
  ASSIGN_OR_RETURN(data.documents_BS,
                   ReadDocuments(tokens, split, data.ids_BS));
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
  WindowBatch batch = {
      .windows = windows,
      .trunk_BSD = data.trunk_BSD.index_select(0, rows).to(device)};
  Tensor targets = ids.narrow(1, 1, data.length() - 1).reshape({-1});
  if (data.documents_BS.defined()) {
    batch.documents_BS = data.documents_BS.index_select(0, rows);
    const Tensor positions =
        HasTarget(batch.documents_BS).reshape({-1}).nonzero().squeeze(1);
    targets = targets.index_select(0, positions);
    batch.positions_T = positions.to(device);
  }
  batch.targets_T = targets.to(device);
  return batch;
}

namespace {

Tensor HiddenOf(const model::CausalLm& lm, const WindowBatch& batch,
                const Tensor& x_BSD) {
  return batch.Select(
      model::FinalNorm(lm, x_BSD.narrow(1, 0, x_BSD.size(1) - 1))
          .reshape({-1, x_BSD.size(2)}));
}

}  // namespace

Tensor HiddenOfBatch(const model::CausalLm& lm, int64_t first_layer,
                     const WindowBatch& batch) {
  return HiddenOf(
      lm, batch,
      model::RunLayers(lm, batch.trunk_BSD, first_layer, lm.num_layers(),
                       {.documents_BS = batch.documents_BS}));
}

TrainedHidden TrainedHiddenOfBatch(const model::CausalLm& lm,
                                   int64_t first_layer,
                                   const WindowBatch& batch,
                                   TrainedPassOptions options) {
  options.documents_BS = batch.documents_BS;
  const TrainedPass pass =
      RunTrainedLayers(lm, batch.trunk_BSD, first_layer, options);
  return {.hidden_TD = HiddenOf(lm, batch, pass.x_BSD), .z_loss = pass.z_loss};
}

}  // namespace tributary::contributor
