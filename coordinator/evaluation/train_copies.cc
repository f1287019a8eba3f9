#include "coordinator/evaluation/train_copies.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>
#include <vector>

#include "common/model/errors.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

constexpr double kFinalFraction = 0.1;
constexpr double kClipNorm = 1.0;

class Trainer {
 public:
  Trainer(model::CausalLm& lm, const PublicWindows& windows,
          const CopyTraining& options)
      : lm_(lm), windows_(windows), options_(options), random_(options.seed) {
    for (model::DecoderLayer& layer : lm.layers) {
      if (!layer.routes()) {
        continue;
      }
      layer.router_ED = layer.router_ED.detach().clone().requires_grad_();
      rows_.push_back(layer.router_ED);
      for (auto& expert : layer.experts) {
        for (Tensor* weight :
             {&expert->gate_FD, &expert->up_FD, &expert->down_DF}) {
          *weight = weight->detach().requires_grad_();
          weights_.push_back(*weight);
        }
      }
    }
    hooks_.routing = [this](int64_t, const Tensor& p_TE, const Tensor& ids_TK,
                            const Tensor&) {
      const int64_t experts = p_TE.size(1);
      const Tensor counts =
          at::bincount(ids_TK.flatten().to(at::kLong), {}, experts)
              .to(at::kFloat);
      const Tensor loss =
          at::dot(counts, p_TE.mean(0)) *
          (static_cast<double>(experts) / static_cast<double>(ids_TK.numel()));
      balance_ = balance_.defined() ? balance_ + loss : loss;
    };
  }

  StatusOr<CopyTrainingResult> Run() {
    torch::optim::Adam adam(
        {torch::optim::OptimizerParamGroup(weights_),
         torch::optim::OptimizerParamGroup(rows_)},
        torch::optim::AdamOptions(options_.learning_rate).betas({0.9, 0.95}));
    const double rates[] = {options_.learning_rate,
                            options_.router_learning_rate};
    std::vector<Tensor> all = weights_;
    all.insert(all.end(), rows_.begin(), rows_.end());
    std::vector<double> losses;
    for (int64_t step = 0; step < options_.steps; ++step) {
      if (options_.cancellation != nullptr) {
        RETURN_IF_ERROR(options_.cancellation->Check());
      }
      const double progress =
          static_cast<double>(step) / static_cast<double>(options_.steps);
      const double rate =
          kFinalFraction + (1 - kFinalFraction) * 0.5 *
                               (1 + std::cos(std::numbers::pi * progress));
      for (size_t group = 0; group < 2; ++group) {
        auto& settings = static_cast<torch::optim::AdamOptions&>(
            adam.param_groups()[group].options());
        settings.lr(rates[group] * rate);
      }
      losses.push_back(Step(NextWindow()));
      if (!std::isfinite(losses.back())) {
        return Aborted(
            "training the copies: the loss of step {} is {}; lower the "
            "learning rate",
            step + 1, losses.back());
      }
      torch::nn::utils::clip_grad_norm_(all, kClipNorm);
      adam.step();
      adam.zero_grad();
      if (options_.on_progress) {
        options_.on_progress(
            progress, fmt::format("upcycled, loss {:.3f}", losses.back()));
      }
    }
    Freeze();
    return Summary(losses);
  }

 private:
  int64_t NextWindow() {
    if (next_ == order_.size()) {
      order_.resize(static_cast<size_t>(windows_.ids_WS.size(0)));
      std::iota(order_.begin(), order_.end(), int64_t{0});
      for (size_t i = order_.size(); i > 1; --i) {
        std::swap(order_[i - 1], order_[random_() % i]);
      }
      next_ = 0;
    }
    return order_[next_++];
  }

  double Step(int64_t window) {
    balance_ = Tensor();
    const Tensor loss = WindowLoss(lm_, windows_, window, hooks_);
    (loss + balance_ * options_.load_balance).backward();
    return loss.item<double>();
  }

  void Freeze() {
    for (model::DecoderLayer& layer : lm_.layers) {
      if (!layer.routes()) {
        continue;
      }
      layer.router_ED = layer.router_ED.detach();
      for (auto& expert : layer.experts) {
        for (Tensor* weight :
             {&expert->gate_FD, &expert->up_FD, &expert->down_DF}) {
          *weight = weight->detach();
        }
      }
    }
  }

  static CopyTrainingResult Summary(const std::vector<double>& losses) {
    CopyTrainingResult result{.steps = static_cast<int64_t>(losses.size())};
    const size_t tenth = std::max<size_t>(1, losses.size() / 10);
    for (size_t i = 0; i < std::min(tenth, losses.size()); ++i) {
      result.first_loss += losses[i] / static_cast<double>(tenth);
      result.last_loss +=
          losses[losses.size() - 1 - i] / static_cast<double>(tenth);
    }
    return result;
  }

  model::CausalLm& lm_;
  const PublicWindows& windows_;
  const CopyTraining& options_;
  std::mt19937_64 random_;
  std::vector<int64_t> order_;
  size_t next_ = 0;
  model::Hooks hooks_;
  std::vector<Tensor> weights_;
  std::vector<Tensor> rows_;
  Tensor balance_;
};

}  // namespace

StatusOr<CopyTrainingResult> TrainCopies(model::CausalLm& lm,
                                         const PublicWindows& windows,
                                         const CopyTraining& options) {
  return model::CatchTorch([&] { return Trainer(lm, windows, options).Run(); });
}

}  // namespace tributary::coordinator
