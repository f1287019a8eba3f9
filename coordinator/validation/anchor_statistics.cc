#include "coordinator/validation/anchor_statistics.h"

#include <algorithm>
#include <map>
#include <set>

#include "common/evaluation/text_windows.h"
#include "common/manifest/resource_name.h"
#include "common/model/errors.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"
#include "common/tokenizer/tokenizer.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

constexpr int64_t kBatchWindows = 4;

Status CheckOptions(const AnchorStatisticsOptions& options) {
  std::set<std::string> names;
  for (const TextClass& text : options.classes) {
    RETURN_IF_ERROR(manifest::CheckId("class of public text", text.name));
    if (text.name == "importance") {
      return InvalidArgument(
          "class of public text: \"importance\" is the name "
          "of the importance scores; use another one");
    }
    if (!names.insert(text.name).second) {
      return InvalidArgument("class of public text \"{}\" is named twice",
                             text.name);
    }
  }
  for (const char* wanted : {kProseClass, kHeldoutClass}) {
    if (!names.contains(wanted)) {
      return InvalidArgument(
          "public text: class \"{}\" is missing; prose is what the anchor "
          "should keep, heldout measures it",
          wanted);
    }
  }
  if (options.window_tokens < 2 || options.windows_per_class < 1 ||
      options.heldout_windows < 1 || options.sample_stride < 1 ||
      options.first_layer < 0) {
    return InvalidArgument(
        "got {} tokens a window, {} windows a class, {} held out, stride {}, "
        "first layer {}; wanted at least 2, 1, 1, 1 and 0",
        options.window_tokens, options.windows_per_class,
        options.heldout_windows, options.sample_stride, options.first_layer);
  }
  return absl::OkStatus();
}

// Windows of a class, int32 [W, S].
StatusOr<Tensor> CutClass(const tokenizer::Tokenizer& tokenizer,
                          const TextClass& text,
                          const AnchorStatisticsOptions& options) {
  ASSIGN_OR_RETURN(const evaluation::Windows windows,
                   evaluation::CutTextWindows(
                       tokenizer, text.paths,
                       {.window_tokens = options.window_tokens,
                        .max_windows = text.name == kHeldoutClass
                                           ? options.heldout_windows
                                           : options.windows_per_class}));
  if (windows.empty()) {
    return InvalidArgument("class \"{}\": none of its documents has {} tokens",
                           text.name, options.window_tokens);
  }
  return evaluation::ToTensor(windows, options.window_tokens);
}

// One anchor pass over a class.
class ClassPass {
 public:
  ClassPass(const model::CausalLm& lm, const AnchorStatisticsOptions& options,
            const std::string& name)
      : lm_(lm),
        options_(options),
        name_(name),
        keeps_inputs_(name != kHeldoutClass),
        keeps_importance_(name == kProseClass),
        inputs_(static_cast<size_t>(lm.num_layers())),
        sums_(static_cast<size_t>(lm.num_layers())) {
    hooks_.moe_input = [this](int64_t layer, const Tensor& x) {
      if (keeps_inputs_ && layer >= options_.first_layer) {
        inputs_[static_cast<size_t>(layer)].push_back(
            x.view({-1, options_.window_tokens, x.size(1)})
                .slice(1, 0, std::nullopt, options_.sample_stride)
                .flatten(0, 1)
                .to(at::kCPU, at::kBFloat16));
      }
    };
    if (keeps_importance_) {
      hooks_.down_input = [this](int64_t layer, int64_t, const Tensor& a) {
        AddImportance(layer, a);
      };
    }
  }

  // Runs over windows [W, S].
  Status Run(const Tensor& windows) {
    at::NoGradGuard no_gradients;
    // One at a time where importance is summed over windows.
    const int64_t batch = keeps_importance_ ? 1 : kBatchWindows;
    for (int64_t w = 0; w < windows.size(0); w += batch) {
      if (options_.load.cancellation != nullptr) {
        RETURN_IF_ERROR(options_.load.cancellation->Check());
      }
      const Tensor ids =
          windows.narrow(0, w, std::min(batch, windows.size(0) - w))
              .to(at::kLong);
      const Tensor hidden = model::HiddenStates(lm_, ids, {.hooks = &hooks_});
      if (MeasuresLoss(name_)) {
        AddLosses(hidden, ids);
      }
    }
    return absl::OkStatus();
  }

  // What the anchor knows of the class is said for prose and heldout alone: the
  // head costs a fifth of a pass.
  static bool MeasuresLoss(const std::string& name) {
    return name == kProseClass || name == kHeldoutClass;
  }

  ClassLoss Loss() const {
    ClassLoss loss = {.name = name_,
                      .tokens = static_cast<int64_t>(window_losses_.size()) *
                                (options_.window_tokens - 1),
                      .window_losses = window_losses_};
    for (const double mean : window_losses_) {
      loss.log_loss += mean / static_cast<double>(window_losses_.size());
    }
    return loss;
  }

  // Sampled inputs of a layer, bf16 [tokens, D].
  Tensor Inputs(int64_t layer) const {
    return at::cat(inputs_[static_cast<size_t>(layer)]);
  }
  // sqrt(sum over windows of (mean over positions of |a|)^2), fp32 [I].
  Tensor Importance(int64_t layer) const {
    return sums_[static_cast<size_t>(layer)].sqrt().to(at::kCPU, at::kFloat);
  }

 private:
  void AddImportance(int64_t layer, const Tensor& a) {
    const Tensor square =
        a.abs().sum(0, /*keepdim=*/false, at::kDouble).div(a.size(0)).square();
    Tensor& sum = sums_[static_cast<size_t>(layer)];
    sum = sum.defined() ? sum + square : square;
  }

  void AddLosses(const Tensor& hidden_BSD, const Tensor& ids_BS) {
    const int64_t predicted = ids_BS.size(1) - 1;
    const Tensor means =
        model::TokenLogLoss(lm_,
                            hidden_BSD.narrow(1, 0, predicted).flatten(0, 1),
                            ids_BS.narrow(1, 1, predicted).flatten())
            .view({ids_BS.size(0), predicted})
            .to(at::kCPU, at::kDouble)
            .mean(1);
    for (int64_t w = 0; w < means.size(0); ++w) {
      window_losses_.push_back(means[w].item<double>());
    }
  }

  const model::CausalLm& lm_;
  const AnchorStatisticsOptions& options_;
  const std::string name_;
  const bool keeps_inputs_;
  const bool keeps_importance_;
  model::Hooks hooks_;
  std::vector<std::vector<Tensor>> inputs_;
  std::vector<Tensor> sums_;
  std::vector<double> window_losses_;
};

StatusOr<AnchorStatisticsResult> Make(const AnchorStatisticsOptions& options) {
  ASSIGN_OR_RETURN(
      const auto tokenizer,
      tokenizer::Tokenizer::Load(options.model_directory / "tokenizer.json"));
  model::NamedTensors tokens;
  for (const TextClass& text : options.classes) {
    ASSIGN_OR_RETURN(Tensor windows, CutClass(*tokenizer, text, options));
    tokens.emplace_back(text.name, std::move(windows));
  }
  ASSIGN_OR_RETURN(const model::CausalLm lm,
                   model::LoadModel(options.model_directory, options.load));
  if (options.first_layer >= lm.num_layers()) {
    return InvalidArgument("first_layer: got {}, wanted less than {}",
                           options.first_layer, lm.num_layers());
  }
  AnchorStatisticsResult result;
  std::map<std::string, Tensor> statistics;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto& [name, windows] = tokens[i];
    if (windows.max().item<int64_t>() >= lm.config.vocab_size) {
      return InvalidArgument(
          "the tokenizer has ids beyond the model's vocabulary of {}",
          lm.config.vocab_size);
    }
    if (options.on_progress) {
      options.on_progress(
          static_cast<double>(i) / static_cast<double>(tokens.size()), name);
    }
    ClassPass pass(lm, options, name);
    RETURN_IF_ERROR(pass.Run(windows));
    if (ClassPass::MeasuresLoss(name)) {
      result.losses.push_back(pass.Loss());
    }
    for (int64_t l = 0; l < lm.num_layers(); ++l) {
      if (name != kHeldoutClass && l >= options.first_layer) {
        statistics[fmt::format("layers.{}.{}", l, name)] = pass.Inputs(l);
      }
      if (name == kProseClass) {
        statistics[model_format::Importance(l)] = pass.Importance(l);
      }
    }
  }
  result.tokens_path = options.output_directory / "tokens.safetensors";
  result.statistics_path = options.output_directory / "statistics.safetensors";
  RETURN_IF_ERROR(model::WriteTensors(result.tokens_path, tokens));
  RETURN_IF_ERROR(model::WriteTensors(
      result.statistics_path,
      model::NamedTensors(statistics.begin(), statistics.end())));
  return result;
}

}  // namespace

StatusOr<AnchorStatisticsResult> MakeAnchorStatistics(
    const AnchorStatisticsOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  return model::CatchTorch([&] { return Make(options); });
}

}  // namespace tributary::coordinator
