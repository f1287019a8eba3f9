#include "coordinator/evaluation/record_routing.h"

#include <algorithm>
#include <optional>

#include "ATen/ATen.h"
#include "common/model/errors.h"
#include "fmt/format.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

std::vector<std::string> ExpertNames(const model::CausalLm& lm) {
  std::vector<std::string> names;
  for (int64_t e = 0; e < lm.num_experts(); ++e) {
    const auto named = static_cast<size_t>(e) - 1;
    if (e == 0 && !lm.expert_names.empty()) {
      names.emplace_back("public");
    } else if (e > 0 && named < lm.expert_names.size()) {
      names.push_back(lm.expert_names[named]);
    } else {
      names.push_back("expert-" + std::to_string(e));
    }
  }
  return names;
}

// Positions that run together, and positions whose logits are held at a time.
constexpr size_t kBatchTokens = 1024;
constexpr int64_t kLogitTokens = 256;

using Windows = std::vector<std::vector<int32_t>>;

// Windows of one length, one behind the other in a domain.
struct Batch {
  Windows::const_iterator begin;
  Windows::const_iterator end;

  int64_t size() const { return end - begin; }
  int64_t length() const { return static_cast<int64_t>(begin->size()); }
};

Tensor IdsOf(const Batch& batch) {
  Tensor ids_BS = at::empty({batch.size(), batch.length()}, at::kLong);
  int64_t* data = ids_BS.mutable_data_ptr<int64_t>();
  for (auto window = batch.begin; window != batch.end; ++window) {
    data = std::copy(window->begin(), window->end(), data);
  }
  return ids_BS;
}

// The anchor that the mixture was made from, with the same storage; nullopt
// when it was not made from one.
std::optional<model::CausalLm> AnchorOf(const model::CausalLm& lm) {
  model::CausalLm anchor = lm;
  anchor.expert_names.clear();
  for (model::DecoderLayer& layer : anchor.layers) {
    if (!layer.ffn.gate_FD.defined()) {
      return std::nullopt;
    }
    layer.experts.clear();
    layer.router_ED = Tensor();
    layer.router_bias_E = Tensor();
  }
  return anchor;
}

void AppendInts(const Tensor& values, std::vector<int32_t>& out) {
  const Tensor host = values.to(at::kCPU, at::kInt).contiguous();
  const int32_t* data = host.const_data_ptr<int32_t>();
  out.insert(out.end(), data, data + host.numel());
}

void AddSums(const Tensor& values_TE, int64_t domain,
             std::vector<double>& out) {
  const Tensor sums = values_TE.to(at::kDouble).sum(0).to(at::kCPU);
  const double* data = sums.const_data_ptr<double>();
  for (int64_t e = 0; e < sums.numel(); ++e) {
    out[static_cast<size_t>(domain * sums.numel() + e)] += data[e];
  }
}

class Recorder {
 public:
  explicit Recorder(const model::CausalLm& lm)
      : lm_(lm), anchor_(AnchorOf(lm)) {
    record_.experts = ExpertNames(lm);
    record_.top_k = std::min(lm.top_k, lm.num_experts());
    for (int64_t l = 0; l < lm.num_layers(); ++l) {
      if (lm.layers[static_cast<size_t>(l)].routes()) {
        position_.push_back(static_cast<int64_t>(record_.layers.size()));
        record_.layers.push_back(l);
      } else {
        position_.push_back(-1);
      }
    }
    record_.chosen.resize(record_.layers.size());
    hooks_.routing = [this](int64_t layer, const Tensor& p_TE,
                            const Tensor& ids_TK, const Tensor& weights_TK) {
      Take(position_[static_cast<size_t>(layer)], p_TE, ids_TK, weights_TK);
    };
    anchor_hooks_.down_input = [this](int64_t layer, int64_t,
                                      const Tensor& a_TF) {
      TakeActivation(static_cast<size_t>(layer), a_TF);
    };
  }

  bool routes() const { return !record_.layers.empty(); }

  Status Simulate(const NodeLimit& limit) {
    ASSIGN_OR_RETURN(
        const NodeSimulation simulation,
        NodeSimulation::Create(limit, record_.num_experts(), record_.top_k));
    nodes_.assign(record_.layers.size(), simulation);
    return absl::OkStatus();
  }

  void StartDomain(const std::string& name) {
    record_.domains.push_back(name);
    record_.loss.push_back(0);
    record_.loss_tokens.push_back(0);
    const size_t size = record_.domains.size() * record_.experts.size();
    for (auto* sums : {&record_.probability, &record_.weight}) {
      sums->resize(record_.layers.size());
      for (auto& layer : *sums) {
        layer.resize(size);
      }
    }
    if (anchor_) {
      squares_.emplace_back(static_cast<size_t>(lm_.num_layers()));
    }
  }

  // Below the first layer that routes both models are one.
  void Run(const Batch& batch) {
    batch_ = batch.size();
    const Tensor ids_BS = IdsOf(batch);
    const int64_t first = record_.layers.front();
    const int64_t end = lm_.num_layers();
    const model::RunOptions as_anchor = {.hooks = anchor_ ? &anchor_hooks_
                                                          : nullptr};
    const Tensor trunk_BSD =
        model::RunLayers(lm_, model::Embed(lm_, ids_BS), 0, first, as_anchor);
    if (anchor_) {
      model::RunLayers(*anchor_, trunk_BSD, first, end, as_anchor);
    }
    const Tensor hidden_BSD = model::FinalNorm(
        lm_, model::RunLayers(lm_, trunk_BSD, first, end, {.hooks = &hooks_}));
    for (int64_t b = 0; b < batch_; ++b) {
      Predict(hidden_BSD[b], ids_BS[b]);
    }
    const auto domain = static_cast<int32_t>(record_.domains.size()) - 1;
    for (auto window = batch.begin; window != batch.end; ++window) {
      record_.domain.insert(record_.domain.end(), window->size(), domain);
      record_.input.insert(record_.input.end(), window->begin(), window->end());
      record_.next.insert(record_.next.end(), window->begin() + 1,
                          window->end());
      record_.next.push_back(-1);
    }
  }

  RoutingRecord Finish() {
    for (const NodeSimulation& layer : nodes_) {
      record_.nodes.push_back(layer.Mean());
    }
    for (const auto& domain : squares_) {
      auto& layers = record_.importance.emplace_back();
      for (const Tensor& sum_F : domain) {
        const Tensor score_F = sum_F.sqrt().to(at::kCPU).contiguous();
        const double* data = score_F.const_data_ptr<double>();
        layers.emplace_back(data, data + score_F.numel());
      }
    }
    return std::move(record_);
  }

 private:
  // What the model expects behind each position of a window, and its loss.
  void Predict(const Tensor& hidden_SD, const Tensor& ids_S) {
    const int64_t length = ids_S.size(0);
    for (int64_t from = 0; from < length; from += kLogitTokens) {
      const Tensor logits_SV =
          model::Logits(lm_, hidden_SD.slice(0, from, from + kLogitTokens))
              .to(at::kFloat);
      AppendInts(logits_SV.argmax(-1), record_.predicted);
      // The last position has nothing to predict.
      const int64_t end = std::min(from + logits_SV.size(0), length - 1);
      const Tensor scored_SV = logits_SV.slice(0, 0, end - from);
      const Tensor wanted_S = scored_SV
                                  .gather(1, ids_S.slice(0, from + 1, end + 1)
                                                 .to(logits_SV.device())
                                                 .unsqueeze(1))
                                  .squeeze(1);
      record_.loss.back() += (at::logsumexp(scored_SV, 1) - wanted_S)
                                 .to(at::kDouble)
                                 .sum()
                                 .item<double>();
      record_.loss_tokens.back() += end - from;
    }
  }

  // Adds (mean over a window's positions of |a|)^2 of every window.
  void TakeActivation(size_t layer, const Tensor& a_TF) {
    const Tensor mean_BF = a_TF.abs()
                               .view({batch_, -1, a_TF.size(1)})
                               .mean(1, /*keepdim=*/false, at::kDouble);
    Tensor& sum_F = squares_.back()[layer];
    const Tensor add_F = mean_BF.square().sum(0);
    sum_F = sum_F.defined() ? sum_F + add_F : add_F;
  }

  void Take(int64_t layer, const Tensor& p_TE, const Tensor& ids_TK,
            const Tensor& weights_TK) {
    const auto l = static_cast<size_t>(layer);
    // Likeliest first, whatever the order in which they were chosen.
    const Tensor order = weights_TK.argsort(/*stable=*/true, /*dim=*/1,
                                            /*descending=*/true);
    AppendInts(ids_TK.gather(1, order), record_.chosen[l]);
    if (!nodes_.empty()) {
      const Tensor p = p_TE.to(at::kCPU, at::kFloat).contiguous();
      nodes_[l].Add(
          {p.const_data_ptr<float>(), static_cast<size_t>(p.numel())});
    }
    const auto domain = static_cast<int64_t>(record_.domains.size()) - 1;
    AddSums(p_TE, domain, record_.probability[l]);
    AddSums(at::zeros_like(p_TE).scatter_(1, ids_TK,
                                          weights_TK.to(p_TE.scalar_type())),
            domain, record_.weight[l]);
  }

  const model::CausalLm& lm_;
  const std::optional<model::CausalLm> anchor_;
  int64_t batch_ = 0;  // windows that run
  RoutingRecord record_;
  std::vector<std::vector<Tensor>> squares_;  // [D][L], fp64 [F]
  std::vector<NodeSimulation> nodes_;         // per routing layer, or none
  std::vector<int64_t> position_;  // of a layer among those that route
  model::Hooks hooks_;
  model::Hooks anchor_hooks_;
};

Status CheckWindow(const std::string& domain,
                   const std::vector<int32_t>& window, int64_t vocab_size) {
  const auto [low, high] = std::minmax_element(window.begin(), window.end());
  if (window.size() < 2 || *low < 0 || *high >= vocab_size) {
    return InvalidArgument(
        "{}: got a window of {} tokens, wanted at least 2 with ids below "
        "{}; is it the model's own tokenizer?",
        domain, window.size(), vocab_size);
  }
  return absl::OkStatus();
}

Status RunAll(const std::vector<DomainWindows>& domains, int64_t vocab_size,
              const RecordOptions& options, Recorder& recorder) {
  size_t all = 0;
  for (const DomainWindows& domain : domains) {
    all += domain.windows.size();
    for (const std::vector<int32_t>& window : domain.windows) {
      RETURN_IF_ERROR(CheckWindow(domain.name, window, vocab_size));
    }
  }
  size_t done = 0;
  at::NoGradGuard no_gradients;
  for (const DomainWindows& domain : domains) {
    recorder.StartDomain(domain.name);
    for (auto begin = domain.windows.begin(); begin != domain.windows.end();) {
      if (options.cancellation != nullptr) {
        RETURN_IF_ERROR(options.cancellation->Check());
      }
      const auto together = static_cast<int64_t>(
          std::max<size_t>(1, kBatchTokens / begin->size()));
      const auto last =
          begin + std::min<int64_t>(together, domain.windows.end() - begin);
      const auto end = std::find_if(begin, last, [&](const auto& window) {
        return window.size() != begin->size();
      });
      recorder.Run({begin, end});
      done += static_cast<size_t>(end - begin);
      begin = end;
      if (options.on_progress) {
        options.on_progress(
            static_cast<double>(done) / static_cast<double>(all),
            fmt::format("{}: window {} of {}", domain.name,
                        begin - domain.windows.begin(), domain.windows.size()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<RoutingRecord> RecordRouting(const model::CausalLm& lm,
                                      const std::vector<DomainWindows>& domains,
                                      const RecordOptions& options) {
  return model::CatchTorch([&]() -> StatusOr<RoutingRecord> {
    Recorder recorder(lm);
    if (!recorder.routes()) {
      return FailedPrecondition(
          "the model has no layer that routes: give a release with experts or "
          "a mixture");
    }
    if (options.nodes.groups > 0) {
      RETURN_IF_ERROR(recorder.Simulate(options.nodes));
    }
    RETURN_IF_ERROR(RunAll(domains, lm.config.vocab_size, options, recorder));
    return recorder.Finish();
  });
}

}  // namespace tributary::coordinator
