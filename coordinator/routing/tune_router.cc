#include "coordinator/routing/tune_router.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <set>

#include "common/model/errors.h"
#include "coordinator/routing/proxy_text.h"
#include "coordinator/routing/router_file.h"
#include "coordinator/validation/anchor_statistics.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

constexpr double kFinalFraction = 0.1;
constexpr double kClipNorm = 1.0;

Status CheckOptions(const TuneOptions& options) {
  if (!(options.learning_rate > 0) || options.epochs < 1 ||
      options.windows_per_domain < 1 || !(options.load_balance >= 0) ||
      !(options.z_loss >= 0) || options.top_k < 0) {
    return InvalidArgument(
        "router tuning: got learning rate {}, {} epochs, {} windows a domain, "
        "load balance {}, z-loss {}, top-k {}; wanted positive numbers, and "
        "weights of at least 0",
        options.learning_rate, options.epochs, options.windows_per_domain,
        options.load_balance, options.z_loss, options.top_k);
  }
  return absl::OkStatus();
}

// The losses of a pass that hooks add up, over routed layers.
class RouterLosses {
 public:
  explicit RouterLosses(const model::CausalLm& lm) : lm_(lm) {
    hooks_.moe_input = [this](int64_t layer, const Tensor& x_TD) {
      const model::DecoderLayer& weights = lm_.layers[layer];
      if (!weights.routes()) {
        return;
      }
      Tensor z_TE = at::linear(x_TD.to(at::kFloat), weights.router_ED);
      if (weights.router_bias_E.defined()) {
        z_TE = z_TE + weights.router_bias_E;
      }
      Add(z_, at::logsumexp(z_TE, {1}).square().mean());
    };
    hooks_.routing = [this](int64_t /*layer*/, const Tensor& p_TE,
                            const Tensor& ids_TK, const Tensor& /*weights*/) {
      const int64_t experts = p_TE.size(1);
      const Tensor counts =
          at::bincount(ids_TK.flatten().to(at::kLong), {}, experts)
              .to(at::kFloat);
      Add(balance_, at::dot(counts, p_TE.mean(0)) *
                        (static_cast<double>(experts) /
                         static_cast<double>(ids_TK.numel())));
    };
  }

  const model::Hooks& hooks() const { return hooks_; }

  Tensor Total(double z_weight, double balance_weight) const {
    return z_ * z_weight + balance_ * balance_weight;
  }

 private:
  static void Add(Tensor& sum, const Tensor& value) {
    sum = sum.defined() ? sum + value : value;
  }

  const model::CausalLm& lm_;
  model::Hooks hooks_;
  Tensor z_;
  Tensor balance_;
};

// Windows of one epoch: all of prose, and those of every proxy, so that a
// window which looks like two domains is there twice.
std::vector<int64_t> WindowsOfEpoch(const PublicWindows& windows,
                                    const std::vector<Proxy>& proxies) {
  std::vector<int64_t> chosen;
  for (size_t w = 0; w < windows.classes.size(); ++w) {
    if (windows.classes[w] == kProseClass) {
      chosen.push_back(static_cast<int64_t>(w));
    }
  }
  for (const Proxy& proxy : proxies) {
    chosen.insert(chosen.end(), proxy.windows.begin(), proxy.windows.end());
  }
  return chosen;
}

// Fisher-Yates; std::shuffle differs between libraries.
void Shuffle(std::vector<int64_t>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[random() % i]);
  }
}

class Tuning {
 public:
  Tuning(model::CausalLm& lm, const PublicWindows& windows,
         const TuneOptions& options)
      : lm_(lm), windows_(windows), options_(options) {
    for (int64_t l = windows.first_layer; l < lm.num_layers(); ++l) {
      if (lm.layers[l].routes()) {
        lm.layers[l].router_ED =
            lm.layers[l].router_ED.detach().clone().requires_grad_();
        rows_.push_back(lm.layers[l].router_ED);
      }
    }
  }

  Status Run(const std::vector<int64_t>& epoch_windows, TuneResult* result) {
    torch::optim::Adam adam(
        rows_,
        torch::optim::AdamOptions(options_.learning_rate).betas({0.9, 0.95}));
    std::mt19937_64 random(options_.seed);
    const auto steps =
        static_cast<int64_t>(epoch_windows.size()) * options_.epochs;
    std::vector<double> losses;
    for (int epoch = 0; epoch < options_.epochs; ++epoch) {
      std::vector<int64_t> order = epoch_windows;
      Shuffle(order, random);
      for (const int64_t window : order) {
        if (options_.load.cancellation != nullptr) {
          RETURN_IF_ERROR(options_.load.cancellation->Check());
        }
        const double progress =
            static_cast<double>(losses.size()) / static_cast<double>(steps);
        const double rate =
            kFinalFraction + (1 - kFinalFraction) * 0.5 *
                                 (1 + std::cos(std::numbers::pi * progress));
        adam.param_groups()[0].options().set_lr(options_.learning_rate * rate);
        losses.push_back(Step(window));
        if (!std::isfinite(losses.back())) {
          return FailedPrecondition(
              "router tuning: the loss of step {} is {}; lower "
              "routing.tuned_learning_rate",
              losses.size(), losses.back());
        }
        torch::nn::utils::clip_grad_norm_(rows_, kClipNorm);
        adam.step();
        adam.zero_grad();
        if (options_.on_progress) {
          options_.on_progress(progress,
                               fmt::format("loss {:.3f}", losses.back()));
        }
      }
    }
    const size_t tenth = std::max<size_t>(1, losses.size() / 10);
    for (size_t i = 0; i < tenth; ++i) {
      result->first_loss += losses[i] / static_cast<double>(tenth);
      result->last_loss +=
          losses[losses.size() - 1 - i] / static_cast<double>(tenth);
    }
    result->steps = steps;
    return absl::OkStatus();
  }

 private:
  // Gradients of one window; its log-loss.
  double Step(int64_t window) {
    const RouterLosses losses(lm_);
    const Tensor loss = WindowLoss(lm_, windows_, window, losses.hooks());
    (loss + losses.Total(options_.z_loss, options_.load_balance)).backward();
    for (const Tensor& rows : rows_) {
      // The public row is the origin: zero, and stays so.
      rows.mutable_grad().select(0, 0).zero_();
    }
    return loss.item<double>();
  }

  model::CausalLm& lm_;
  const PublicWindows& windows_;
  const TuneOptions& options_;
  std::vector<Tensor> rows_;
};

std::vector<ProxyFound> Describe(const model::CausalLm& lm,
                                 const PublicWindows& windows,
                                 const std::vector<Proxy>& proxies) {
  std::vector<ProxyFound> found;
  for (size_t i = 0; i < proxies.size(); ++i) {
    ProxyFound& entry = found.emplace_back();
    entry.contribution =
        i < lm.expert_names.size() ? lm.expert_names[i] : std::to_string(i + 1);
    entry.windows = static_cast<int64_t>(proxies[i].windows.size());
    entry.mean_share = proxies[i].mean_share;
    std::set<std::string> seen;
    for (const int64_t w : proxies[i].windows) {
      if (seen.insert(windows.classes[w]).second) {
        entry.classes.push_back(windows.classes[w]);
      }
    }
  }
  return found;
}

StatusOr<TuneResult> Tune(const TuneOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(model::CausalLm lm,
                   model::LoadSource(options.model, options.load));
  if (lm.num_experts() < 2) {
    return FailedPrecondition("router tuning: the model has no experts");
  }
  ASSIGN_OR_RETURN(const auto tokens,
                   safetensors::File::Open(
                       options.public_tokens_path,
                       {.limits = safetensors::HeaderLimits::ForModel()}));
  ASSIGN_OR_RETURN(const PublicWindows windows, ReadPublicWindows(*tokens, lm));
  const std::vector<Proxy> proxies =
      SelectProxies(lm, windows, options.windows_per_domain);
  lm.top_k = options.top_k > 0 ? options.top_k : lm.num_experts();
  TuneResult result{.proxies = Describe(lm, windows, proxies)};
  Tuning tuning(lm, windows, options);
  RETURN_IF_ERROR(tuning.Run(WindowsOfEpoch(windows, proxies), &result));
  std::vector<RouterRows> routers;
  for (const model::DecoderLayer& layer : lm.layers) {
    routers.push_back({layer.router_ED.detach().to(at::kCPU),
                       layer.router_bias_E.defined()
                           ? layer.router_bias_E.to(at::kCPU)
                           : at::zeros({lm.num_experts()}, at::kFloat)});
  }
  RETURN_IF_ERROR(WriteRouterFile(routers, options.output_path));
  return result;
}

}  // namespace

StatusOr<TuneResult> TuneRouter(const TuneOptions& options) {
  return model::CatchTorch([&] { return Tune(options); });
}

}  // namespace tributary::coordinator
