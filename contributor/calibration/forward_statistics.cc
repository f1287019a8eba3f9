#include "contributor/calibration/forward_statistics.h"

#include <algorithm>

#include "common/kernels/parallel.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/channel_sums.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr int64_t kChannelsPerTask = 256;
constexpr int64_t kMomentBlock = 192;

Tensor Fp32(const Tensor& tensor) {
  return tensor.detach().to(at::kCPU, at::kFloat).contiguous();
}

std::span<const float> Values(const Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

// The norms of the columns of down_proj, in fp64.
std::vector<double> ColumnNorms(const Tensor& down_DF) {
  const Tensor norms =
      at::linalg_vector_norm(down_DF.to(at::kDouble), 2, {0}).contiguous();
  return {norms.const_data_ptr<double>(),
          norms.const_data_ptr<double>() + norms.numel()};
}

}  // namespace

const model::Ffn* ScoredFfn(const model::CausalLm& lm, int64_t layer) {
  const model::DecoderLayer& weights = lm.layers[layer];
  if (lm.num_experts() == 0) {
    return &weights.ffn;
  }
  return weights.experts.size() > 1 && weights.experts[1].has_value()
             ? &*weights.experts[1]
             : nullptr;
}

ImportanceSums EmptySums(const model::CausalLm& lm, int64_t first_layer,
                         const std::vector<Formula>& formulas) {
  ImportanceSums sums{.formulas = formulas};
  for (int64_t l = first_layer; l < lm.num_layers(); ++l) {
    const model::Ffn* ffn = ScoredFfn(lm, l);
    if (ffn == nullptr) {
      continue;
    }
    const Tensor gate = Fp32(ffn->gate_FD);
    const Tensor up = Fp32(ffn->up_FD);
    const Tensor down = Fp32(ffn->down_DF);
    sums.layers[l] = {
        .channels_digest =
            DigestChannels(Values(gate), Values(up), Values(down)),
        .down_norms = ColumnNorms(down),
        .sums = std::vector<ExactSum>(formulas.size(), ExactSum(ffn->width()))};
  }
  return sums;
}

ForwardStatistics::ForwardStatistics(const model::CausalLm& lm,
                                     const CalibrateOptions& options,
                                     int64_t train_tokens, ImportanceSums* sums)
    : lm_(lm),
      first_layer_(options.first_layer),
      stride_(options.activations_path.empty() ? 0 : options.sample_stride),
      second_moments_(!options.second_moments_path.empty()),
      sums_(*sums),
      rows_(lm.num_layers()),
      weights_(lm.num_layers()),
      samples_(lm.num_layers()),
      moments_(lm.num_layers()),
      totals_(lm.num_layers()) {
  const int64_t hidden = lm.config.hidden_size;
  for (int64_t l = first_layer_; l < lm.num_layers(); ++l) {
    if (stride_ > 0) {
      samples_[l] = at::empty({(train_tokens + stride_ - 1) / stride_, hidden},
                              at::kBFloat16);
    }
    if (second_moments_) {
      const auto type = at::TensorOptions(at::kDouble).device(lm.device());
      moments_[l] = at::zeros({hidden, hidden}, type);
      totals_[l] = at::zeros({hidden}, type);
    }
  }
}

StatusOr<std::unique_ptr<ForwardStatistics>> ForwardStatistics::Create(
    const model::CausalLm& lm, const CalibrateOptions& options,
    int64_t train_tokens, ImportanceSums* sums) {
  std::unique_ptr<ForwardStatistics> statistics(
      new ForwardStatistics(lm, options, train_tokens, sums));
  if (options.router_path.empty() || lm.num_experts() > 0 ||
      !statistics->Wants(Formula::kReap)) {
    return statistics;
  }
  ASSIGN_OR_RETURN(const auto file, OpenTensorFile(options.router_path));
  for (int64_t l = options.first_layer; l < lm.num_layers(); ++l) {
    ASSIGN_OR_RETURN(const Tensor weight,
                     MapFloats(file, model_format::RouterWeight(l),
                               {lm.config.hidden_size}));
    ASSIGN_OR_RETURN(const Tensor bias,
                     MapFloats(file, model_format::RouterBias(l), {}));
    statistics->rows_[l] = at::cat({weight, bias.reshape({1})}).to(lm.device());
  }
  return statistics;
}

bool ForwardStatistics::Wants(Formula formula) const {
  return std::ranges::count(sums_.formulas, formula) > 0;
}

model::Hooks ForwardStatistics::HooksFor(int64_t windows, int64_t token) {
  model::Hooks hooks;
  const int64_t scored = lm_.num_experts() == 0 ? 0 : 1;
  if (std::ranges::any_of(sums_.formulas, [](Formula formula) {
        return formula != Formula::kTaylor;
      })) {
    hooks.down_input = [this, windows, scored](int64_t layer, int64_t expert,
                                               const Tensor& a_TF) {
      if (expert == scored && sums_.layers.contains(layer)) {
        Sum(layer, windows, a_TF);
      }
    };
  }
  if (scored == 1 && Wants(Formula::kReap)) {
    hooks.routing = [this](int64_t layer, const Tensor& p_TE,
                           const Tensor& /*ids_TK*/, const Tensor& weights_TK) {
      // Both experts are chosen for every token: the columns are the experts.
      if (sums_.layers.contains(layer)) {
        weights_[layer] = Fp32(weights_TK.select(1, p_TE.size(1) - 1));
      }
    };
  }
  hooks.moe_input = [this, token](int64_t layer, const Tensor& x_TD) {
    if (layer < first_layer_) {
      return;
    }
    if (rows_[layer].defined()) {
      const int64_t hidden = x_TD.size(1);
      weights_[layer] = Fp32(at::sigmoid(
          at::mv(x_TD.to(at::kFloat), rows_[layer].narrow(0, 0, hidden)) +
          rows_[layer][hidden]));
    }
    if (stride_ > 0) {
      Sample(layer, token, x_TD);
    }
    if (second_moments_) {
      AddSecondMoment(layer, x_TD);
    }
  };
  return hooks;
}

void ForwardStatistics::Sum(int64_t layer, int64_t windows,
                            const Tensor& a_TF) {
  const Tensor a = Fp32(a_TF);
  const int64_t channels = a.size(1);
  const int64_t tokens = a.size(0) / windows;
  Tensor weights = weights_[layer];
  if (!weights.defined() && Wants(Formula::kReap)) {
    weights = at::ones({a.size(0)}, at::kFloat);
  }
  const auto buffer = [&](Formula formula) {
    return std::vector<double>(Wants(formula) ? windows * channels : 0);
  };
  std::vector<double> absolute = buffer(Formula::kWindowMean);
  std::vector<double> square = buffer(Formula::kWanda);
  std::vector<double> weighted = buffer(Formula::kReap);
  const int64_t blocks = (channels + kChannelsPerTask - 1) / kChannelsPerTask;
  const float* data = a.const_data_ptr<float>();
  const float* scale =
      weights.defined() ? weights.const_data_ptr<float>() : nullptr;
  kernels::ParallelFor(0, windows * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t window = task / blocks;
      const int64_t first = (task % blocks) * kChannelsPerTask;
      const auto at = [&](std::vector<double>& sums) {
        return sums.empty() ? nullptr : sums.data() + window * channels;
      };
      SumChannels(data + window * tokens * channels, tokens, channels,
                  scale == nullptr ? nullptr : scale + window * tokens, first,
                  std::min(first + kChannelsPerTask, channels),
                  {.absolute = at(absolute),
                   .square = at(square),
                   .weighted = at(weighted)});
    }
  });
  for (double& sum : absolute) {
    const double mean = sum / static_cast<double>(tokens);
    sum = mean * mean;
  }
  ImportanceSums::Layer& sums = sums_.layers.at(layer);
  for (size_t i = 0; i < sums_.formulas.size(); ++i) {
    const std::vector<double>& found =
        sums_.formulas[i] == Formula::kWindowMean ? absolute
        : sums_.formulas[i] == Formula::kWanda    ? square
                                                  : weighted;
    if (sums_.formulas[i] == Formula::kTaylor) {
      continue;
    }
    for (int64_t w = 0; w < windows && status_.ok(); ++w) {
      status_ =
          sums.sums[i].Add(std::span(found).subspan(w * channels, channels));
    }
  }
}

void ForwardStatistics::Sample(int64_t layer, int64_t token,
                               const Tensor& x_TD) {
  // The first multiple of the stride at or behind `token`.
  const int64_t row = (token + stride_ - 1) / stride_;
  const Tensor kept =
      x_TD.slice(0, row * stride_ - token, x_TD.size(0), stride_);
  samples_[layer].slice(0, row, row + kept.size(0)).copy_(kept);
}

// The matrix is symmetric: blocks below the diagonal are left out.
void ForwardStatistics::AddSecondMoment(int64_t layer, const Tensor& x_TD) {
  const Tensor x = x_TD.detach().to(at::kFloat);
  const int64_t hidden = x.size(1);
  for (int64_t i = 0; i < hidden; i += kMomentBlock) {
    const int64_t rows = std::min(kMomentBlock, hidden - i);
    moments_[layer]
        .narrow(0, i, rows)
        .narrow(1, i, hidden - i)
        .add_(at::mm(x.narrow(1, i, rows).t(), x.narrow(1, i, hidden - i)));
  }
  totals_[layer].add_(x.sum(0, false, at::kDouble));
  if (layer == first_layer_) {
    moment_tokens_ += x.size(0);
  }
}

Status ForwardStatistics::Write(const CalibrateOptions& options) const {
  NamedTensors activations;
  NamedTensors moments = {
      {"tokens", at::scalar_tensor(moment_tokens_, at::kLong)}};
  for (int64_t l = first_layer_; l < lm_.num_layers(); ++l) {
    if (stride_ > 0) {
      activations.emplace_back(fmt::format("layers.{}.x", l), samples_[l]);
    }
    if (second_moments_) {
      const Tensor upper = moments_[l].triu();
      moments.emplace_back(fmt::format("layers.{}.second_moment", l),
                           upper + upper.triu(1).t());
      moments.emplace_back(fmt::format("layers.{}.sum", l), totals_[l]);
    }
  }
  if (stride_ > 0) {
    RETURN_IF_ERROR(WriteTensors(options.activations_path, activations));
  }
  if (second_moments_) {
    RETURN_IF_ERROR(WriteTensors(options.second_moments_path, moments));
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor
