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
  ASSIGN_OR_RETURN(const auto documents, evaluation::ReadDocuments(text.paths));
  ASSIGN_OR_RETURN(
      const evaluation::Windows windows,
      evaluation::CutWindows(tokenizer, documents,
                             {.window_tokens = options.window_tokens,
                              .max_windows = text.name == kHeldoutClass
                                                 ? options.heldout_windows
                                                 : options.windows_per_class}));
  if (windows.empty()) {
    return InvalidArgument(
        "class \"{}\": none of its {} documents has {} tokens", text.name,
        documents.size(), options.window_tokens);
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
        keeps_inputs_(name != kHeldoutClass),
        keeps_importance_(name == kProseClass),
        inputs_(static_cast<size_t>(lm.num_layers())),
        sums_(static_cast<size_t>(lm.num_layers())) {
    hooks_.moe_input = [this](int64_t layer, const Tensor& x) {
      if (keeps_inputs_ && layer >= options_.first_layer) {
        inputs_[static_cast<size_t>(layer)].push_back(
            x.slice(0, 0, std::nullopt, options_.sample_stride)
                .to(at::kCPU, at::kBFloat16));
      }
    };
    if (keeps_importance_) {
      hooks_.down_input = [this](int64_t layer, int64_t, const Tensor& a) {
        AddImportance(layer, a);
      };
    }
  }

  // Log-losses of the windows [W, S].
  StatusOr<ClassLoss> Run(const Tensor& windows) {
    at::NoGradGuard no_gradients;
    ClassLoss loss;
    const int64_t length = windows.size(1);
    // One window at a time: importance is a sum over windows.
    for (int64_t w = 0; w < windows.size(0); ++w) {
      if (options_.load.cancellation != nullptr) {
        RETURN_IF_ERROR(options_.load.cancellation->Check());
      }
      const Tensor ids = windows.narrow(0, w, 1).to(at::kLong);
      const Tensor hidden = model::HiddenStates(lm_, ids, {.hooks = &hooks_})
                                .narrow(1, 0, length - 1)
                                .flatten(0, 1);
      const double mean =
          model::TokenLogLoss(lm_, hidden,
                              ids.narrow(1, 1, length - 1).flatten())
              .to(at::kDouble)
              .mean()
              .item<double>();
      loss.window_losses.push_back(mean);
      loss.log_loss += mean / static_cast<double>(windows.size(0));
      loss.tokens += length - 1;
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

  const model::CausalLm& lm_;
  const AnchorStatisticsOptions& options_;
  const bool keeps_inputs_;
  const bool keeps_importance_;
  model::Hooks hooks_;
  std::vector<std::vector<Tensor>> inputs_;
  std::vector<Tensor> sums_;
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
    ASSIGN_OR_RETURN(ClassLoss loss, pass.Run(windows));
    loss.name = name;
    result.losses.push_back(std::move(loss));
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
