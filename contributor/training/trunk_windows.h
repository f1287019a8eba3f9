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

namespace tributary::contributor {

struct TrunkWindows {
  at::Tensor ids_BS;     // int64
  at::Tensor trunk_BSD;  // fp32, mapped from the file: never write
  int64_t first_layer = 0;

  int64_t windows() const { return ids_BS.size(0); }
  int64_t length() const { return ids_BS.size(1); }
};

struct TrunkFiles {
  std::filesystem::path tokens_path;
  std::filesystem::path trunk_path;
  int64_t first_layer = 0;
};

// One split, "train" or "heldout". INVALID_ARGUMENT when ids and states do not
// belong together, to this model or to first_layer.
StatusOr<TrunkWindows> LoadTrunkWindows(const TrunkFiles& files,
                                        const std::string& split,
                                        const model::CausalLm& lm);

// Some windows, in this order.
struct WindowBatch {
  std::vector<int64_t> windows;
  at::Tensor trunk_BSD;
  at::Tensor targets_T;  // int64, T = B (S - 1)
};
WindowBatch TakeBatch(const TrunkWindows& data,
                      const std::vector<int64_t>& windows, at::Device device);

// The layers from first_layer on and the last norm, for all positions that
// have a target: [B (S - 1), D].
at::Tensor HiddenOfBatch(const model::CausalLm& lm, int64_t first_layer,
                         const WindowBatch& batch,
                         const model::RunOptions& options = {});

}  // namespace tributary::contributor
