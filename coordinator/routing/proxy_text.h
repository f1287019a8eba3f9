#pragma once

// Public text that looks like a domain to the domain's own router row. Tuning a
// router needs text of every domain, and the coordinator has none that is
// private. W windows, S positions, E experts with the public one.

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/model/causal_lm.h"
#include "common/safetensors/reader.h"

namespace tributary::coordinator {

// Windows of public text.
struct PublicWindows {
  at::Tensor ids_WS;                 // int64
  std::vector<std::string> classes;  // of each window
  // The residual stream before the first layer that routes [W, S, D].
  at::Tensor trunk_WSD;
  int64_t first_layer = 0;
};

// All classes of public/tokens.safetensors but `heldout`, in the file's order,
// with their trunk states. INVALID_ARGUMENT for windows that differ in length
// or a file without any.
StatusOr<PublicWindows> ReadPublicWindows(const safetensors::File& tokens,
                                          const model::CausalLm& lm);

// Mean log-loss of one window's predicted tokens, nats, a scalar with
// gradients; `hooks` see every layer's routing.
at::Tensor WindowLoss(const model::CausalLm& lm, const PublicWindows& windows,
                      int64_t window, const model::Hooks& hooks);

// What one expert's row finds.
struct Proxy {
  // Windows by descending share; a window may be of several experts.
  std::vector<int64_t> windows;
  // Mean share of the expert against the anchor alone, over layers, tokens and
  // these windows: sigmoid(x . r + b).
  double mean_share = 0;
};

// For every expert beside the public one the `count` windows outside prose
// (all, where there is only prose) that its rows claim most. Equal shares are
// taken in the order of the windows.
std::vector<Proxy> SelectProxies(const model::CausalLm& lm,
                                 const PublicWindows& windows, int64_t count);

}  // namespace tributary::coordinator
