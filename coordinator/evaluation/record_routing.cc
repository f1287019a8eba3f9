#include "coordinator/evaluation/record_routing.h"

#include <algorithm>

#include "ATen/ATen.h"
#include "common/model/errors.h"

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

Tensor IdsOf(const std::vector<int32_t>& window) {
  return at::tensor(at::ArrayRef<int32_t>(window), at::kInt)
      .to(at::kLong)
      .unsqueeze(0);
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
  explicit Recorder(const model::CausalLm& lm) : lm_(lm) {
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
  }

  void Run(const std::vector<int32_t>& window) {
    const Tensor hidden =
        model::HiddenStates(lm_, IdsOf(window), {.hooks = &hooks_});
    const Tensor logits = model::Logits(lm_, hidden).squeeze(0).to(at::kFloat);
    AppendInts(logits.argmax(-1), record_.predicted);
    const auto length = static_cast<int64_t>(window.size());
    const Tensor targets = IdsOf(window).squeeze(0).slice(0, 1);
    const Tensor wanted =
        logits.slice(0, 0, length - 1)
            .gather(1, targets.to(logits.device()).unsqueeze(1))
            .squeeze(1);
    record_.loss.back() +=
        (at::logsumexp(logits.slice(0, 0, length - 1), 1) - wanted)
            .to(at::kDouble)
            .sum()
            .item<double>();
    record_.loss_tokens.back() += length - 1;
    const auto domain = static_cast<int32_t>(record_.domains.size()) - 1;
    for (size_t t = 0; t < window.size(); ++t) {
      record_.domain.push_back(domain);
      record_.input.push_back(window[t]);
      record_.next.push_back(t + 1 < window.size() ? window[t + 1] : -1);
    }
  }

  RoutingRecord Finish() {
    for (const NodeSimulation& layer : nodes_) {
      record_.nodes.push_back(layer.Mean());
    }
    return std::move(record_);
  }

 private:
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
  RoutingRecord record_;
  std::vector<NodeSimulation> nodes_;  // per routing layer, or none
  std::vector<int64_t> position_;      // of a layer among those that route
  model::Hooks hooks_;
};

// Calls `visit(domain, window)` for every window of at least 2 tokens.
template <typename Start, typename Visit>
Status ForWindows(const std::vector<DomainWindows>& domains, int64_t vocab_size,
                  const RecordOptions& options, const Start& start,
                  const Visit& visit) {
  size_t all = 0;
  for (const DomainWindows& domain : domains) {
    all += domain.windows.size();
  }
  size_t done = 0;
  at::NoGradGuard no_gradients;
  for (const DomainWindows& domain : domains) {
    start(domain);
    for (const std::vector<int32_t>& window : domain.windows) {
      if (options.cancellation != nullptr) {
        RETURN_IF_ERROR(options.cancellation->Check());
      }
      const auto [low, high] =
          std::minmax_element(window.begin(), window.end());
      if (window.size() < 2 || *low < 0 || *high >= vocab_size) {
        return InvalidArgument(
            "{}: got a window of {} tokens, wanted at least 2 with ids below "
            "{}; is it the model's own tokenizer?",
            domain.name, window.size(), vocab_size);
      }
      visit(window);
      if (options.on_progress) {
        options.on_progress(static_cast<double>(++done) /
                            static_cast<double>(all));
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
    RETURN_IF_ERROR(ForWindows(
        domains, lm.config.vocab_size, options,
        [&](const DomainWindows& domain) { recorder.StartDomain(domain.name); },
        [&](const std::vector<int32_t>& window) { recorder.Run(window); }));
    return recorder.Finish();
  });
}

StatusOr<std::vector<std::vector<std::vector<double>>>> DomainImportance(
    const model::CausalLm& anchor, const std::vector<DomainWindows>& domains,
    const RecordOptions& options) {
  using Scores = std::vector<std::vector<std::vector<double>>>;
  return model::CatchTorch([&]() -> StatusOr<Scores> {
    std::vector<std::vector<Tensor>> sums;  // [D][L], fp64 [I]
    model::Hooks hooks;
    hooks.down_input = [&](int64_t layer, int64_t, const Tensor& a_TF) {
      const Tensor mean = a_TF.abs().to(at::kDouble).mean(0).square();
      Tensor& sum = sums.back()[static_cast<size_t>(layer)];
      sum = sum.defined() ? sum + mean : mean;
    };
    RETURN_IF_ERROR(ForWindows(
        domains, anchor.config.vocab_size, options,
        [&](const DomainWindows&) {
          sums.emplace_back(static_cast<size_t>(anchor.num_layers()));
        },
        [&](const std::vector<int32_t>& window) {
          model::HiddenStates(anchor, IdsOf(window), {.hooks = &hooks});
        }));
    Scores scores;
    for (const auto& domain : sums) {
      auto& layers = scores.emplace_back();
      for (const Tensor& sum : domain) {
        const Tensor score = sum.defined()
                                 ? sum.sqrt().to(at::kCPU).contiguous()
                                 : at::zeros({0}, at::kDouble);
        const double* data = score.const_data_ptr<double>();
        layers.emplace_back(data, data + score.numel());
      }
    }
    return scores;
  });
}

}  // namespace tributary::coordinator
