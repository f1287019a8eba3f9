#include "coordinator/routing/proxy_text.h"

#include <algorithm>
#include <numeric>

#include "common/model/tensor_io.h"
#include "coordinator/validation/anchor_statistics.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

constexpr int64_t kBatch = 4;  // windows computed at a time

int64_t FirstRoutedLayer(const model::CausalLm& lm) {
  int64_t layer = 0;
  while (layer < lm.num_layers() && !lm.layers[layer].routes()) {
    ++layer;
  }
  return layer;
}

// Mean share of every expert [E] for each window [W, E], over routed layers.
Tensor Shares(const model::CausalLm& lm, const PublicWindows& windows) {
  const int64_t count = windows.ids_WS.size(0);
  const int64_t length = windows.ids_WS.size(1);
  Tensor shares_WE = at::zeros({count, lm.num_experts()}, at::kDouble);
  int64_t layers = 0;
  for (int64_t l = windows.first_layer; l < lm.num_layers(); ++l) {
    layers += lm.layers[l].routes() ? 1 : 0;
  }
  for (int64_t w = 0; w < count; w += kBatch) {
    const int64_t batch = std::min(kBatch, count - w);
    Tensor part = shares_WE.narrow(0, w, batch);
    model::Hooks hooks;
    hooks.moe_input = [&](int64_t layer, const Tensor& x_TD) {
      const model::DecoderLayer& weights = lm.layers[layer];
      if (!weights.routes()) {
        return;
      }
      Tensor z_TE = at::linear(x_TD.to(at::kFloat), weights.router_ED);
      if (weights.router_bias_E.defined()) {
        z_TE.add_(weights.router_bias_E);
      }
      part.add_(at::sigmoid(z_TE)
                    .view({batch, length, -1})
                    .mean(1)
                    .to(at::kCPU, at::kDouble),
                1.0 / static_cast<double>(layers));
    };
    model::RunLayers(lm, windows.trunk_WSD.narrow(0, w, batch),
                     windows.first_layer, lm.num_layers(), {.hooks = &hooks});
  }
  return shares_WE;
}

}  // namespace

Tensor WindowLoss(const model::CausalLm& lm, const PublicWindows& windows,
                  int64_t window, const model::Hooks& hooks) {
  const Tensor x_BSD =
      model::RunLayers(lm, windows.trunk_WSD.narrow(0, window, 1),
                       windows.first_layer, lm.num_layers(), {.hooks = &hooks});
  const int64_t length = x_BSD.size(1);
  const Tensor hidden_TD =
      model::FinalNorm(lm, x_BSD).select(0, 0).narrow(0, 0, length - 1);
  return model::TokenLogLoss(
             lm, hidden_TD,
             windows.ids_WS.select(0, window).narrow(0, 1, length - 1))
      .mean();
}

StatusOr<PublicWindows> ReadPublicWindows(const safetensors::File& tokens,
                                          const model::CausalLm& lm) {
  const at::NoGradGuard no_gradients;
  PublicWindows windows;
  std::vector<Tensor> parts;
  for (const safetensors::TensorInfo& tensor : tokens.tensors()) {
    if (tensor.name == kHeldoutClass) {
      continue;
    }
    ASSIGN_OR_RETURN(Tensor ids_WS, model::ReadTokenIds(tokens, tensor.name,
                                                        lm.config.vocab_size));
    if (!parts.empty() && ids_WS.size(1) != parts[0].size(1)) {
      return InvalidArgument("{}: windows of {} have {} tokens, others {}",
                             tokens.path().string(), tensor.name,
                             ids_WS.size(1), parts[0].size(1));
    }
    windows.classes.insert(windows.classes.end(), ids_WS.size(0), tensor.name);
    parts.push_back(std::move(ids_WS));
  }
  if (parts.empty()) {
    return InvalidArgument("{}: has no public text to tune a router on",
                           tokens.path().string());
  }
  windows.ids_WS = at::cat(parts);
  windows.first_layer = FirstRoutedLayer(lm);
  std::vector<Tensor> states;
  for (const Tensor& ids_BS : windows.ids_WS.split(kBatch)) {
    states.push_back(
        model::RunLayers(lm, model::Embed(lm, ids_BS), 0, windows.first_layer));
  }
  windows.trunk_WSD = at::cat(states);
  return windows;
}

std::vector<Proxy> SelectProxies(const model::CausalLm& lm,
                                 const PublicWindows& windows, int64_t count) {
  const at::NoGradGuard no_gradients;
  const Tensor shares_WE = Shares(lm, windows);
  const auto share = shares_WE.accessor<double, 2>();
  std::vector<int64_t> candidates(windows.classes.size());
  std::iota(candidates.begin(), candidates.end(), 0);
  const bool only_prose = std::ranges::all_of(
      windows.classes, [](const auto& name) { return name == kProseClass; });
  if (!only_prose) {
    std::erase_if(candidates,
                  [&](int64_t w) { return windows.classes[w] == kProseClass; });
  }
  std::vector<Proxy> proxies;
  for (int64_t e = 1; e < shares_WE.size(1); ++e) {
    Proxy proxy{.windows = candidates};
    std::stable_sort(
        proxy.windows.begin(), proxy.windows.end(),
        [&](int64_t a, int64_t b) { return share[a][e] > share[b][e]; });
    proxy.windows.resize(std::min<size_t>(proxy.windows.size(), count));
    for (const int64_t w : proxy.windows) {
      proxy.mean_share +=
          share[w][e] / static_cast<double>(proxy.windows.size());
    }
    proxies.push_back(std::move(proxy));
  }
  return proxies;
}

}  // namespace tributary::coordinator
