#include "contributor/calibration/compare_rows.h"

#include <algorithm>

#include "common/model/errors.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

// Indices of rows [1, E] by whether they are the own ones.
struct Sides {
  std::vector<int64_t> own;
  std::vector<int64_t> foreign;
};

Sides Split(const CompareRowsOptions& options) {
  Sides sides;
  for (size_t i = 0; i < options.contributions.size(); ++i) {
    const bool own = std::ranges::count(options.own, options.contributions[i]);
    (own ? sides.own : sides.foreign).push_back(static_cast<int64_t>(i) + 1);
  }
  return sides;
}

// The layers that an activations file covers, ascending.
std::vector<int64_t> LayersOf(const safetensors::File& file) {
  std::vector<int64_t> layers;
  for (int64_t l = 0; l < static_cast<int64_t>(1) << 16; ++l) {
    if (file.Find(fmt::format("layers.{}.x", l)) != nullptr) {
      layers.push_back(l);
    } else if (!layers.empty()) {
      break;
    }
  }
  return layers;
}

double MeanOfHighest(const Tensor& z_TE, const std::vector<int64_t>& rows) {
  return std::get<0>(z_TE.index_select(1, at::tensor(rows)).max(1))
      .mean()
      .item<double>();
}

StatusOr<RowComparison> Compare(const CompareRowsOptions& options) {
  const at::NoGradGuard no_gradients;
  ASSIGN_OR_RETURN(const auto activations,
                   OpenTensorFile(options.activations_path));
  ASSIGN_OR_RETURN(const auto router, OpenTensorFile(options.router_path));
  const Sides sides = Split(options);
  RowComparison result;
  const std::vector<int64_t> layers = LayersOf(*activations);
  if (layers.empty()) {
    return InvalidArgument("{}: has no activations; calibrate again",
                           options.activations_path.string());
  }
  const auto experts = static_cast<int64_t>(options.contributions.size()) + 1;
  Tensor sums_E = at::zeros({experts}, at::kDouble);
  for (const int64_t l : layers) {
    ASSIGN_OR_RETURN(const Tensor stored,
                     MapTensor(activations, fmt::format("layers.{}.x", l)));
    const Tensor x_TD = stored.to(at::kFloat);
    ASSIGN_OR_RETURN(const Tensor rows_ED,
                     MapFloats(router, model_format::RouterWeight(l),
                               {experts, x_TD.size(1)}));
    ASSIGN_OR_RETURN(const Tensor bias_E,
                     MapFloats(router, model_format::RouterBias(l), {experts}));
    Tensor z_TE = at::linear(x_TD, rows_ED, bias_E);
    z_TE = z_TE - z_TE.narrow(1, 0, 1);
    sums_E.add_(z_TE.mean(0, false, at::kDouble));
    RowComparison::Layer& layer = result.layers.emplace_back();
    layer.layer = l;
    if (!sides.own.empty()) {
      layer.mean_own_logit = MeanOfHighest(z_TE, sides.own);
    }
    if (!sides.foreign.empty()) {
      layer.mean_best_logit = MeanOfHighest(z_TE, sides.foreign);
      result.mean_best_logit =
          result.mean_best_logit.value_or(0) +
          layer.mean_best_logit / static_cast<double>(layers.size());
    }
  }
  for (const int64_t e : sides.foreign) {
    result.rows.push_back({.contribution = options.contributions[e - 1],
                           .mean_logit = sums_E[e].item<double>() /
                                         static_cast<double>(layers.size())});
  }
  std::ranges::stable_sort(result.rows, [](const auto& a, const auto& b) {
    return a.mean_logit > b.mean_logit;
  });
  return result;
}

}  // namespace

StatusOr<RowComparison> CompareRows(const CompareRowsOptions& options) {
  return model::CatchTorch([&] { return Compare(options); });
}

}  // namespace tributary::contributor
