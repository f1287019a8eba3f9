#include "contributor/calibration/calibrate.h"

#include <algorithm>
#include <optional>

#include "common/model_format/parameter_names.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

// Adds up what the hooks see of the layers from first_layer on.
class Statistics {
 public:
  Statistics(const model::CausalLm& anchor, const CalibrateOptions& options,
             int64_t train_tokens)
      : first_layer_(options.first_layer),
        stride_(options.activations_path.empty() ? 0 : options.sample_stride),
        squares_(anchor.num_layers()),
        samples_(anchor.num_layers()) {
    for (int64_t l = first_layer_; l < anchor.num_layers(); ++l) {
      squares_[l] =
          at::zeros({anchor.config.intermediate_size},
                    at::TensorOptions(at::kDouble).device(anchor.device()));
      if (stride_ > 0) {
        samples_[l] = at::empty(
            {(train_tokens + stride_ - 1) / stride_, anchor.config.hidden_size},
            at::kBFloat16);
      }
    }
  }

  // Hooks for a batch of `windows` windows that begins at `token` of `train`.
  model::Hooks HooksFor(int64_t windows, int64_t token) {
    model::Hooks hooks;
    hooks.down_input = [this, windows](int64_t layer, int64_t expert,
                                       const Tensor& a_TF) {
      if (layer < first_layer_ || expert != 0) {
        return;
      }
      const int64_t tokens = a_TF.size(0) / windows;
      const Tensor mean_BF =
          at::linalg_vector_norm(a_TF.view({windows, tokens, -1}), 1, {1})
              .to(at::kDouble)
              .div_(tokens);
      squares_[layer].add_(mean_BF.square().sum(0));
    };
    if (stride_ > 0) {
      hooks.moe_input = [this, token](int64_t layer, const Tensor& x_TD) {
        if (layer < first_layer_) {
          return;
        }
        // The first multiple of the stride at or behind `token`.
        const int64_t row = (token + stride_ - 1) / stride_;
        const Tensor kept =
            x_TD.slice(0, row * stride_ - token, x_TD.size(0), stride_);
        samples_[layer].slice(0, row, row + kept.size(0)).copy_(kept);
      };
    }
    return hooks;
  }

  Status Write(const CalibrateOptions& options) const {
    NamedTensors importance, activations;
    for (int64_t l = first_layer_; l < static_cast<int64_t>(squares_.size());
         ++l) {
      importance.emplace_back(model_format::Importance(l),
                              squares_[l].sqrt().to(at::kFloat));
      if (stride_ > 0) {
        activations.emplace_back(fmt::format("layers.{}.x", l), samples_[l]);
      }
    }
    if (!options.importance_path.empty()) {
      RETURN_IF_ERROR(WriteTensors(options.importance_path, importance));
    }
    if (stride_ > 0) {
      RETURN_IF_ERROR(WriteTensors(options.activations_path, activations));
    }
    return absl::OkStatus();
  }

 private:
  const int64_t first_layer_;
  const int64_t stride_;
  std::vector<Tensor> squares_;  // per layer, fp64 [I]
  std::vector<Tensor> samples_;  // per layer, bf16 [tokens, h]
};

struct SplitPass {
  std::string name;
  Tensor ids_BS;
  Tensor trunk_BSD;  // undefined: not wanted
  double log_loss = 0;
};

class Pass {
 public:
  Pass(const model::CausalLm& anchor, const CalibrateOptions& options,
       const std::function<Status(double)>& report, int64_t total_tokens)
      : anchor_(anchor),
        options_(options),
        report_(report),
        total_tokens_(total_tokens) {}

  // `statistics` is null for text that is only evaluated.
  Status Run(SplitPass* split, Statistics* statistics) {
    const int64_t windows = split->ids_BS.size(0);
    const int64_t length = split->ids_BS.size(1);
    const int64_t batch = std::max<int64_t>(1, options_.batch_tokens / length);
    double sum = 0;
    for (int64_t begin = 0; begin < windows; begin += batch) {
      const int64_t count = std::min(batch, windows - begin);
      const Tensor ids =
          split->ids_BS.narrow(0, begin, count).to(anchor_.device());
      const Tensor trunk = model::RunLayers(anchor_, model::Embed(anchor_, ids),
                                            0, options_.first_layer);
      if (split->trunk_BSD.defined()) {
        split->trunk_BSD.narrow(0, begin, count).copy_(trunk);
      }
      std::optional<model::Hooks> hooks;
      if (statistics != nullptr) {
        hooks = statistics->HooksFor(count, begin * length);
      }
      const Tensor last = model::RunLayers(
          anchor_, trunk, options_.first_layer, anchor_.num_layers(),
          {.hooks = hooks ? &*hooks : nullptr});
      const Tensor hidden = model::FinalNorm(anchor_, last)
                                .narrow(1, 0, length - 1)
                                .reshape({count * (length - 1), -1});
      const Tensor targets = ids.narrow(1, 1, length - 1).reshape({-1});
      sum += model::TokenLogLoss(anchor_, hidden, targets)
                 .sum(at::kDouble)
                 .item<double>();
      done_tokens_ += count * length;
      RETURN_IF_ERROR(
          report_(static_cast<double>(done_tokens_) / total_tokens_));
    }
    split->log_loss = sum / (windows * (length - 1));
    return absl::OkStatus();
  }

 private:
  const model::CausalLm& anchor_;
  const CalibrateOptions& options_;
  const std::function<Status(double)>& report_;
  const int64_t total_tokens_;
  int64_t done_tokens_ = 0;
};

}  // namespace

StatusOr<Calibration> Calibrate(const model::CausalLm& anchor,
                                const CalibrateOptions& options,
                                const std::function<Status(double)>& report) {
  const at::NoGradGuard no_grad;
  const int64_t vocabulary = anchor.config.vocab_size;
  if (options.first_layer < 0 || options.first_layer >= anchor.num_layers()) {
    return InvalidArgument("first_layer: got {}, wanted 0 to {}",
                           options.first_layer, anchor.num_layers() - 1);
  }
  if (options.sample_stride < 0) {
    return InvalidArgument("sample_stride: got {}, wanted 0 (none) or more",
                           options.sample_stride);
  }
  ASSIGN_OR_RETURN(const auto file, OpenTensorFile(options.tokens_path));
  std::vector<SplitPass> splits;
  if (file->Find("input_ids") != nullptr) {
    ASSIGN_OR_RETURN(Tensor ids, ReadTokenIds(file, "input_ids", vocabulary));
    splits.push_back({.name = "train", .ids_BS = std::move(ids)});
  } else {
    ASSIGN_OR_RETURN(Tensor train, ReadTokenIds(file, "train", vocabulary));
    ASSIGN_OR_RETURN(Tensor heldout, ReadTokenIds(file, "heldout", vocabulary));
    splits.push_back({.name = "train", .ids_BS = std::move(train)});
    splits.push_back({.name = "heldout", .ids_BS = std::move(heldout)});
  }
  int64_t total = 0;
  for (SplitPass& split : splits) {
    total += split.ids_BS.numel();
    if (!options.trunk_path.empty()) {
      split.trunk_BSD = at::empty({split.ids_BS.size(0), split.ids_BS.size(1),
                                   anchor.config.hidden_size},
                                  at::kFloat);
    }
  }
  Statistics statistics(anchor, options, splits[0].ids_BS.numel());
  Pass pass(anchor, options, report, total);
  NamedTensors trunk;
  for (size_t i = 0; i < splits.size(); ++i) {
    RETURN_IF_ERROR(pass.Run(&splits[i], i == 0 ? &statistics : nullptr));
    trunk.emplace_back(splits[i].name, splits[i].trunk_BSD);
  }
  if (!options.trunk_path.empty()) {
    RETURN_IF_ERROR(
        WriteTensors(options.trunk_path, trunk,
                     {{"first_layer", std::to_string(options.first_layer)}}));
  }
  RETURN_IF_ERROR(statistics.Write(options));
  return Calibration{
      .tokens = splits[0].ids_BS.numel(),
      .train_log_loss = splits[0].log_loss,
      .heldout_log_loss = splits.size() > 1 ? splits[1].log_loss : 0};
}

}  // namespace tributary::contributor
