#include "coordinator/evaluation/compared_windows.h"

#include <algorithm>

#include "ATen/core/grad_mode.h"
#include "common/model/errors.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

Tensor IdsOf(const std::vector<int32_t>& window) {
  return at::tensor(at::ArrayRef<int32_t>(window), at::kInt)
      .to(at::kLong)
      .unsqueeze(0);
}

Status Check(const CancellationToken* cancellation) {
  return cancellation != nullptr ? cancellation->Check() : absl::OkStatus();
}

}  // namespace

StatusOr<ComparedWindows> ComparedWindows::Create(
    const model::CausalLm& lm, const std::vector<DomainWindows>& texts,
    const CancellationToken* cancellation) {
  return model::CatchTorch([&]() -> StatusOr<ComparedWindows> {
    at::NoGradGuard no_gradients;
    ComparedWindows result;
    while (result.first_layer_ < lm.num_layers() &&
           !lm.layers[static_cast<size_t>(result.first_layer_)].routes()) {
      ++result.first_layer_;
    }
    for (const DomainWindows& text : texts) {
      auto& windows = result.texts_.emplace_back();
      for (const std::vector<int32_t>& window : text.windows) {
        RETURN_IF_ERROR(Check(cancellation));
        const auto [low, high] =
            std::minmax_element(window.begin(), window.end());
        if (window.size() < 2 || *low < 0 || *high >= lm.config.vocab_size) {
          return InvalidArgument(
              "{}: got a window of {} tokens, wanted at least 2 with ids below "
              "{}; is it the model's own tokenizer?",
              text.name, window.size(), lm.config.vocab_size);
        }
        const Tensor ids = IdsOf(window);
        windows.push_back({ids, model::RunLayers(lm, model::Embed(lm, ids), 0,
                                                 result.first_layer_)});
      }
    }
    return result;
  });
}

StatusOr<ComparedWindows::Losses> ComparedWindows::Measure(
    const model::CausalLm& lm, const CancellationToken* cancellation) const {
  return model::CatchTorch([&]() -> StatusOr<Losses> {
    at::NoGradGuard no_gradients;
    Losses losses;
    for (const auto& windows : texts_) {
      auto& text = losses.emplace_back();
      for (const Window& window : windows) {
        RETURN_IF_ERROR(Check(cancellation));
        const int64_t length = window.ids_1S.size(1);
        const Tensor states = model::RunLayers(lm, window.trunk_1SD,
                                               first_layer_, lm.num_layers());
        const Tensor hidden =
            model::FinalNorm(lm, states.narrow(1, 0, length - 1)).flatten(0, 1);
        const Tensor loss =
            model::TokenLogLoss(
                lm, hidden, window.ids_1S.narrow(1, 1, length - 1).flatten())
                .to(at::kCPU, at::kDouble)
                .contiguous();
        const double* values = loss.const_data_ptr<double>();
        text.emplace_back(values, values + loss.numel());
      }
    }
    return losses;
  });
}

}  // namespace tributary::coordinator
