#include "contributor/calibration/taylor.h"

#include <algorithm>

#include "common/kernels/parallel.h"
#include "contributor/calibration/channel_sums.h"
#include "contributor/calibration/forward_statistics.h"
#include "contributor/calibration/window_documents.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr int64_t kChannelsPerTask = 64;

Tensor Leaf(const Tensor& weight) {
  return weight.detach().to(at::kFloat).requires_grad_(true);
}

// The values of a tensor on the host.
class HostMatrix {
 public:
  explicit HostMatrix(const Tensor& tensor)
      : values_(tensor.detach().to(at::kCPU, at::kFloat).contiguous()),
        columns_(values_.size(1)) {}
  // Elements [begin, begin + count) of a row.
  std::span<const float> Row(int64_t row, int64_t begin, int64_t count) const {
    return {values_.const_data_ptr<float>() + row * columns_ + begin,
            static_cast<size_t>(count)};
  }
  int64_t rows() const { return values_.size(0); }
  int64_t columns() const { return columns_; }

 private:
  const Tensor values_;
  const int64_t columns_;
};

struct Gradients {
  explicit Gradients(Tensor& weight)
      : weights(weight), gradients(weight.grad()) {
    weight.mutable_grad().reset();
  }
  HostMatrix weights;
  HostMatrix gradients;
};

}  // namespace

TaylorPass::TaylorPass(const model::CausalLm& lm, int64_t first_layer,
                       ImportanceSums* sums)
    : lm_(lm), first_layer_(first_layer), sums_(*sums) {
  for (const auto& [l, layer] : sums_.layers) {
    model::DecoderLayer& weights = lm_.layers[l];
    model::Ffn& ffn =
        lm_.num_experts() == 0 ? weights.ffn : *weights.experts[1];
    ffn = {.gate_FD = Leaf(ffn.gate_FD),
           .up_FD = Leaf(ffn.up_FD),
           .down_DF = Leaf(ffn.down_DF)};
  }
}

Status TaylorPass::Add(const Tensor& ids_BS, const Tensor& documents_BS) {
  const model::RunOptions run{.documents_BS = documents_BS};
  const int64_t length = ids_BS.size(1);
  const Tensor ids = ids_BS.to(lm_.device());
  Tensor trunk;
  {
    const at::NoGradGuard no_grad;
    trunk = model::RunLayers(lm_, model::Embed(lm_, ids), 0, first_layer_, run);
  }
  {
    const at::AutoGradMode grad(true);
    const Tensor last =
        model::RunLayers(lm_, trunk, first_layer_, lm_.num_layers(), run);
    Tensor hidden = model::FinalNorm(lm_, last)
                        .narrow(1, 0, length - 1)
                        .reshape({length - 1, -1});
    Tensor targets = ids.narrow(1, 1, length - 1).reshape({-1});
    if (documents_BS.defined()) {
      const Tensor predicted = HasTarget(documents_BS)
                                   .reshape({-1})
                                   .nonzero()
                                   .squeeze(1)
                                   .to(lm_.device());
      hidden = hidden.index_select(0, predicted);
      targets = targets.index_select(0, predicted);
    }
    model::TokenLogLoss(lm_, hidden, targets).mean().backward();
  }
  const auto found = std::ranges::find(sums_.formulas, Formula::kTaylor);
  for (const auto& [l, layer] : sums_.layers) {
    RETURN_IF_ERROR(AddLayer(l, found - sums_.formulas.begin()));
  }
  return absl::OkStatus();
}

Status TaylorPass::AddLayer(int64_t layer, size_t index) {
  model::DecoderLayer& weights = lm_.layers[layer];
  model::Ffn& ffn = lm_.num_experts() == 0 ? weights.ffn : *weights.experts[1];
  const Gradients gate(ffn.gate_FD), up(ffn.up_FD), down(ffn.down_DF);
  const int64_t channels = gate.weights.rows();
  const int64_t hidden = gate.weights.columns();
  std::vector<double> found(channels);
  kernels::ParallelFor(
      0, channels, kChannelsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          found[i] = SumOfSquaredProducts(gate.weights.Row(i, 0, hidden),
                                          gate.gradients.Row(i, 0, hidden)) +
                     SumOfSquaredProducts(up.weights.Row(i, 0, hidden),
                                          up.gradients.Row(i, 0, hidden));
        }
        const std::span<double> columns(found.data() + begin, end - begin);
        for (int64_t d = 0; d < hidden; ++d) {
          AddSquaredProducts(down.weights.Row(d, begin, end - begin),
                             down.gradients.Row(d, begin, end - begin),
                             columns);
        }
      });
  return sums_.layers.at(layer).sums[index].Add(found);
}

}  // namespace tributary::contributor
