#pragma once

// Windows of token ids together with the anchor's states in front of the first
// layer that has experts: what training and evaluation start from.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/training/trained_layers.h"

namespace tributary::contributor {

struct TrunkWindows {
  at::Tensor ids_BS;     // int64
  at::Tensor trunk_BSD;  // fp32, mapped from the file: never write
  // Number of each position's document in its window, int64, ascending;
  // undefined: every window is one document.
  at::Tensor documents_BS;
  int64_t first_layer = 0;

  int64_t windows() const { return ids_BS.size(0); }
  int64_t length() const { return ids_BS.size(1); }
  // Tokens with a target: all but the first of each document.
  int64_t targets() const;
};

struct TrunkFiles {
  std::filesystem::path tokens_path;
  std::filesystem::path trunk_path;
  int64_t first_layer = 0;
};

// One split, "train" or "heldout"; its documents are "<split>_documents" where
// the token file has them. INVALID_ARGUMENT when ids and states do not belong
// together, to this model or to first_layer, for documents that do not ascend,
// and for a window in which nothing is to be predicted.
StatusOr<TrunkWindows> LoadTrunkWindows(const TrunkFiles& files,
                                        const std::string& split,
                                        const model::CausalLm& lm);

// Some windows, in this order. T counts positions whose next token is of the
// same document: B (S - 1) without documents.
struct WindowBatch {
  std::vector<int64_t> windows;
  at::Tensor trunk_BSD;
  at::Tensor targets_T;     // int64
  at::Tensor documents_BS;  // on the host; undefined: one document a window
  // Those of the B (S - 1) positions that have a target, int64 [T], on the
  // model's device; undefined: all.
  at::Tensor positions_T;

  // Rows of a table of all B (S - 1) positions that belong to targets_T.
  at::Tensor Select(const at::Tensor& rows) const;
};
WindowBatch TakeBatch(const TrunkWindows& data,
                      const std::vector<int64_t>& windows, at::Device device);

// The layers from first_layer on and the last norm, for all positions that
// have a target: [T, D]. As the model computes it (no expert is trained).
at::Tensor HiddenOfBatch(const model::CausalLm& lm, int64_t first_layer,
                         const WindowBatch& batch);

// The same through RunTrainedLayers; options.documents_BS is the batch's.
struct TrainedHidden {
  at::Tensor hidden_TD;
  at::Tensor z_loss;  // as in TrainedPass
};
TrainedHidden TrainedHiddenOfBatch(const model::CausalLm& lm,
                                   int64_t first_layer,
                                   const WindowBatch& batch,
                                   TrainedPassOptions options);

}  // namespace tributary::contributor
