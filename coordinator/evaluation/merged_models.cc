#include "coordinator/evaluation/merged_models.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <optional>

#include "ATen/core/grad_mode.h"
#include "common/model/channel_match.h"
#include "common/model_format/expert_layout.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;
using model::CausalLm;
using model::DecoderLayer;
using model::Ffn;

constexpr double kRowDeviation = 0.02;

int64_t FfnParameters(const Ffn& ffn) {
  return 3 * ffn.width() * ffn.gate_FD.size(1);
}

// The sum of experts at the places of the anchor's channels.
class ChannelSum {
 public:
  explicit ChannelSum(const Ffn& anchor)
      : anchor_(anchor),
        gate_(at::zeros_like(anchor.gate_FD)),
        up_(at::zeros_like(anchor.up_FD)),
        down_(at::zeros_like(anchor.down_DF)) {}

  void Add(const std::optional<Ffn>& expert, Gap gap) {
    ++count_;
    if (!expert.has_value()) {
      AddWhole(anchor_);
      return;
    }
    const std::vector<int64_t> match = model::MatchChannels(*expert, anchor_);
    const Tensor place = at::tensor(at::ArrayRef<int64_t>(match), at::kLong)
                             .to(anchor_.gate_FD.device());
    if (gap == Gap::kAnchor) {
      AddWhole(anchor_);
      Put(place, anchor_.gate_FD.index_select(0, place),
          anchor_.up_FD.index_select(0, place),
          anchor_.down_DF.index_select(1, place), -1);
    }
    Put(place, expert->gate_FD, expert->up_FD, expert->down_DF, 1);
  }

  Ffn Mean() const {
    return {.gate_FD = gate_ / count_,
            .up_FD = up_ / count_,
            .down_DF = down_ / count_};
  }

 private:
  void AddWhole(const Ffn& ffn) {
    gate_ += ffn.gate_FD;
    up_ += ffn.up_FD;
    down_ += ffn.down_DF;
  }

  void Put(const Tensor& place, const Tensor& gate, const Tensor& up,
           const Tensor& down, int sign) {
    gate_.index_add_(0, place, gate, sign);
    up_.index_add_(0, place, up, sign);
    down_.index_add_(1, place, down, sign);
  }

  const Ffn& anchor_;
  Tensor gate_;
  Tensor up_;
  Tensor down_;
  int64_t count_ = 0;
};

void SetRouter(DecoderLayer& layer, const Tensor& rows) {
  layer.router_ED = rows;
  layer.router_bias_E = Tensor();
}

}  // namespace

CausalLm ReduceTo(const CausalLm& lm, const std::vector<int64_t>& experts) {
  CausalLm reduced = lm;
  reduced.expert_names.clear();
  std::vector<int64_t> ids = {0};
  for (const int64_t e : experts) {
    ids.push_back(e);
    reduced.expert_names.push_back(lm.expert_names[static_cast<size_t>(e - 1)]);
  }
  for (DecoderLayer& layer : reduced.layers) {
    if (layer.experts.empty()) {
      continue;
    }
    std::vector<std::optional<Ffn>> kept;
    for (const int64_t e : ids) {
      kept.push_back(layer.experts[static_cast<size_t>(e)]);
    }
    if (experts.empty()) {
      kept.clear();
      SetRouter(layer, Tensor());
    } else {
      const Tensor index = at::tensor(at::ArrayRef<int64_t>(ids), at::kLong)
                               .to(layer.router_ED.device());
      layer.router_ED = layer.router_ED.index_select(0, index);
      if (layer.router_bias_E.defined()) {
        layer.router_bias_E = layer.router_bias_E.index_select(0, index);
      }
    }
    layer.experts = std::move(kept);
  }
  return reduced;
}

bool HasEqualWidths(const CausalLm& lm) {
  return std::all_of(
      lm.layers.begin(), lm.layers.end(), [](const DecoderLayer& layer) {
        const auto width = [&](size_t e) {
          return layer.experts[e] ? layer.experts[e]->width() : 0;
        };
        for (size_t e = 2; e < layer.experts.size(); ++e) {
          if (width(e) != width(1)) {
            return false;
          }
        }
        return true;
      });
}

CausalLm AverageExperts(const CausalLm& lm, Gap gap) {
  at::NoGradGuard no_gradients;
  CausalLm average = lm;
  average.top_k = 2;
  average.expert_names = {"average"};
  for (DecoderLayer& layer : average.layers) {
    if (layer.experts.empty()) {
      continue;
    }
    std::optional<Ffn> mean;
    if (layer.routes()) {
      ChannelSum sum(layer.ffn);
      for (size_t e = 1; e < layer.experts.size(); ++e) {
        sum.Add(layer.experts[e], gap);
      }
      mean = sum.Mean();
    }
    layer.experts = {std::nullopt, std::move(mean)};
    SetRouter(layer, at::zeros({2, layer.router_ED.size(1)},
                               layer.router_ED.options()));
  }
  return average;
}

std::vector<Tensor> RandomRows(const CausalLm& lm, uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  std::vector<Tensor> rows;
  for (const DecoderLayer& layer : lm.layers) {
    Tensor drawn;
    if (layer.routes()) {
      drawn = at::randn(layer.router_ED.sizes(), generator,
                        at::TensorOptions(at::kFloat)) *
              kRowDeviation;
      drawn.select(0, 0).zero_();
    }
    rows.push_back(drawn.defined() ? drawn.to(lm.device()) : drawn);
  }
  return rows;
}

CausalLm Upcycle(const CausalLm& lm, uint64_t seed) {
  CausalLm upcycled = lm;
  const std::vector<Tensor> rows = RandomRows(lm, seed);
  for (size_t l = 0; l < upcycled.layers.size(); ++l) {
    DecoderLayer& layer = upcycled.layers[l];
    if (!layer.routes()) {
      continue;
    }
    for (auto& expert : layer.experts) {
      expert = Ffn{.gate_FD = layer.ffn.gate_FD.clone(),
                   .up_FD = layer.ffn.up_FD.clone(),
                   .down_DF = layer.ffn.down_DF.clone()};
    }
    SetRouter(layer, rows[l]);
  }
  return upcycled;
}

ParameterCount CountParameters(const CausalLm& lm) {
  const int64_t anchor = model_format::CountModelParameters(lm.config);
  ParameterCount count = {.total = anchor, .active = anchor};
  double active = 0;
  for (const DecoderLayer& layer : lm.layers) {
    if (!layer.routes()) {
      continue;
    }
    // Where no expert stands for the anchor's FFN, it is not there.
    const bool has_anchor =
        std::any_of(layer.experts.begin(), layer.experts.end(),
                    [](const auto& expert) { return !expert.has_value(); });
    int64_t own = has_anchor ? 0 : -FfnParameters(layer.ffn);
    int64_t met = 0;
    for (const auto& expert : layer.experts) {
      met += expert ? FfnParameters(*expert) : 0;
    }
    own += met + layer.router_ED.numel();
    count.total += own;
    const auto experts = static_cast<double>(layer.experts.size());
    const double chosen =
        std::min(static_cast<double>(lm.top_k), experts) / experts;
    active += chosen * static_cast<double>(met) +
              static_cast<double>(layer.router_ED.numel() -
                                  (has_anchor ? 0 : FfnParameters(layer.ffn)));
  }
  count.active += static_cast<int64_t>(active);
  return count;
}

}  // namespace tributary::coordinator
