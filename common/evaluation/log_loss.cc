#include "common/evaluation/log_loss.h"

#include <algorithm>

#include "common/model/errors.h"

namespace tributary::evaluation {
namespace {

using at::Tensor;
using model::CausalLm;

Status CheckShapes(const CausalLm& lm, const Tensor& ids,
                   const LogLossOptions& options) {
  if (ids.dim() != 2 || ids.size(1) < 2) {
    return InvalidArgument(
        "got windows of {} tokens, wanted at least 2: the first one is not "
        "predicted",
        ids.dim() == 2 ? ids.size(1) : 0);
  }
  const Tensor& trunk = options.trunk_WSD;
  if (trunk.defined() && (trunk.dim() != 3 || trunk.size(0) != ids.size(0) ||
                          trunk.size(1) != ids.size(1) ||
                          trunk.size(2) != lm.config.hidden_size)) {
    return InvalidArgument(
        "the trunk states do not belong to these {} windows of {} tokens",
        ids.size(0), ids.size(1));
  }
  const Tensor& documents = options.documents_WS;
  if (documents.defined() && !documents.sizes().equals(ids.sizes())) {
    return InvalidArgument(
        "the documents do not belong to these {} windows of {} tokens",
        ids.size(0), ids.size(1));
  }
  return absl::OkStatus();
}

// Some windows with what belongs to them; undefined where there is none.
struct Part {
  Tensor ids_WS;
  Tensor trunk_WSD;
  Tensor documents_WS;
};

// Losses [W', S - 1] of some windows; 0 at a document's first token.
Tensor LossesOf(const CausalLm& lm, const Part& part, int64_t first_layer) {
  const auto& [ids, trunk, documents] = part;
  const int64_t length = ids.size(1);
  const Tensor x =
      trunk.defined() ? trunk.to(lm.device()) : model::Embed(lm, ids);
  const Tensor states =
      model::RunLayers(lm, x, trunk.defined() ? first_layer : 0,
                       lm.num_layers(), {.documents_BS = documents});
  const Tensor hidden =
      model::FinalNorm(lm, states.narrow(1, 0, length - 1)).flatten(0, 1);
  const Tensor losses =
      model::TokenLogLoss(lm, hidden, ids.narrow(1, 1, length - 1).flatten())
          .view({ids.size(0), length - 1});
  return documents.defined()
             ? losses * HasTarget(documents).to(losses.options())
             : losses;
}

}  // namespace

Tensor HasTarget(const Tensor& documents_WS) {
  const int64_t last = documents_WS.size(1) - 1;
  return documents_WS.narrow(1, 1, last).eq(documents_WS.narrow(1, 0, last));
}

void LogLoss::Append(const LogLoss& other) {
  const auto total = static_cast<double>(tokens + other.tokens);
  if (total > 0) {
    mean = (mean * static_cast<double>(tokens) +
            other.mean * static_cast<double>(other.tokens)) /
           total;
  }
  tokens += other.tokens;
  window_means.insert(window_means.end(), other.window_means.begin(),
                      other.window_means.end());
}

StatusOr<LogLoss> EvaluateWindows(const CausalLm& lm, const Tensor& ids_WS,
                                  const LogLossOptions& options) {
  RETURN_IF_ERROR(CheckShapes(lm, ids_WS, options));
  return model::CatchTorch([&]() -> StatusOr<LogLoss> {
    at::NoGradGuard no_gradients;
    LogLoss result;
    const int64_t windows = ids_WS.size(0);
    const int64_t length = ids_WS.size(1);
    const int64_t batch = std::max<int64_t>(1, options.batch_tokens / length);
    double total = 0;
    for (int64_t begin = 0; begin < windows; begin += batch) {
      if (options.cancellation != nullptr) {
        RETURN_IF_ERROR(options.cancellation->Check());
      }
      const int64_t count = std::min(batch, windows - begin);
      const auto take = [&](const Tensor& all) {
        return all.defined() ? all.narrow(0, begin, count) : Tensor();
      };
      const Part part = {take(ids_WS), take(options.trunk_WSD),
                         take(options.documents_WS)};
      const Tensor sums = LossesOf(lm, part, options.first_layer)
                              .to(at::kDouble)
                              .sum(1)
                              .to(at::kCPU);
      const Tensor predicted =
          part.documents_WS.defined()
              ? HasTarget(part.documents_WS).sum(1)
              : at::full({count}, length - 1, at::TensorOptions(at::kLong));
      for (int64_t w = 0; w < count; ++w) {
        const double sum = sums[w].item<double>();
        const int64_t tokens = predicted[w].item<int64_t>();
        total += sum;
        result.tokens += tokens;
        result.window_means.push_back(
            sum / static_cast<double>(std::max<int64_t>(1, tokens)));
      }
      if (options.on_progress) {
        options.on_progress(static_cast<double>(begin + count) /
                            static_cast<double>(windows));
      }
    }
    result.mean =
        result.tokens > 0 ? total / static_cast<double>(result.tokens) : 0.0;
    return result;
  });
}

StatusOr<LogLoss> EvaluateWindows(
    const CausalLm& lm, const std::vector<std::vector<int32_t>>& windows,
    const LogLossOptions& options) {
  LogLoss result;
  size_t begin = 0;
  while (begin < windows.size()) {
    // Windows of one length that follow each other run together.
    size_t end = begin + 1;
    const size_t length = windows[begin].size();
    while (end < windows.size() && windows[end].size() == length) {
      ++end;
    }
    const auto count = static_cast<int64_t>(end - begin);
    Tensor ids = at::empty({count, static_cast<int64_t>(length)}, at::kLong);
    int64_t* to = ids.mutable_data_ptr<int64_t>();
    for (size_t w = begin; w < end; ++w) {
      to = std::copy(windows[w].begin(), windows[w].end(), to);
    }
    LogLossOptions part = options;
    const auto share = [&](double fraction) {
      return (static_cast<double>(begin) +
              fraction * static_cast<double>(count)) /
             static_cast<double>(windows.size());
    };
    if (options.on_progress) {
      part.on_progress = [&](double fraction) {
        options.on_progress(share(fraction));
      };
    }
    ASSIGN_OR_RETURN(const LogLoss loss, EvaluateWindows(lm, ids, part));
    result.Append(loss);
    begin = end;
  }
  return result;
}

}  // namespace tributary::evaluation
