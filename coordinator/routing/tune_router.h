#pragma once

// Router-only training of a merged model on public text and on public text that
// stands for the domains (proxy_text.h); everything else is frozen. Not
// reversible: after an opt-out it is done again from the survivors' rows.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct TuneOptions {
  // A merged model whose rows training starts from.
  model::Source model;
  // public/tokens.safetensors of the anchor.
  std::filesystem::path public_tokens_path;
  double learning_rate = 2e-3;
  int epochs = 2;
  int windows_per_domain = 12;
  // alpha E / (N K) sum_e count_e mean_t p_te, per layer; constant when all
  // experts are chosen.
  double load_balance = 0.01;
  // beta mean_t logsumexp(z)^2, summed over layers.
  double z_loss = 1e-3;
  int64_t top_k = 0;  // while training; 0: all experts
  uint64_t seed = 0;  // orders the windows
  std::filesystem::path output_path;
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

struct ProxyFound {
  std::string contribution;
  int64_t windows = 0;
  double mean_share = 0;
  std::vector<std::string> classes;  // of the windows, each once
};

struct TuneResult {
  int64_t steps = 0;
  // Mean log-loss of the first and the last tenth of the steps.
  double first_loss = 0;
  double last_loss = 0;
  std::vector<ProxyFound> proxies;
};

// Adam (betas 0.9, 0.95), gradients clipped to norm 1, cosine from the learning
// rate to a tenth of it, one window a step; biases stay. Writes the router file
// of the model. The same model, options and number of threads give the same
// bytes. FAILED_PRECONDITION for a model without experts, or when the loss is
// not finite.
StatusOr<TuneResult> TuneRouter(const TuneOptions& options);

}  // namespace tributary::coordinator
