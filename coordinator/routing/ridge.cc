#include "coordinator/routing/ridge.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "common/model/errors.h"
#include "common/model/tensor_io.h"
#include "coordinator/routing/cholesky.h"
#include "coordinator/routing/router_file.h"
#include "coordinator/validation/router_statistics.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

// Significant bits of an fp64 number: sums of integers below it are exact.
constexpr double kExactIntegers = 9007199254740992.0;  // 2^53
constexpr char kImportance[] = "importance";

// X^T X of one domain with the column of ones behind X, row-major [D+1, D+1],
// lower triangle; its last row is X^T y.
using Gram = std::vector<double>;

Gram MakeGram(const Tensor& moment_DD, const Tensor& sum_D, double tokens) {
  const int64_t d = sum_D.size(0);
  const int64_t n = d + 1;
  Gram gram(n * n, 0.0);
  const Tensor moment = moment_DD.contiguous();
  const Tensor sum = sum_D.contiguous();
  for (int64_t i = 0; i < d; ++i) {
    std::copy_n(moment.const_data_ptr<double>() + i * d, i + 1,
                gram.begin() + i * n);
  }
  std::copy_n(sum.const_data_ptr<double>(), d, gram.begin() + d * n);
  gram[d * n + d] = tokens;
  return gram;
}

// Sums over public text. Inputs are rounded to so many binary places that all
// sums are exact: no order of additions, and so no library and no number of
// threads, changes them.
StatusOr<Gram> PublicGram(const safetensors::File& file,
                          const std::vector<std::string>& names,
                          int64_t hidden_size) {
  std::vector<Tensor> classes;
  double largest = 0;
  int64_t tokens = 0;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(Tensor x, model::ReadTensor(file, name, at::kDouble));
    if (x.dim() != 2 || x.size(1) != hidden_size || x.size(0) == 0 ||
        !at::isfinite(x).all().item<bool>()) {
      return InvalidArgument("{}: {} is not finite [tokens, {}]",
                             file.path().string(), name, hidden_size);
    }
    largest = std::max(largest, x.abs().max().item<double>());
    tokens += x.size(0);
    classes.push_back(std::move(x));
  }
  double scale = 1;
  const auto fits = [&](double s) {
    const double integer = std::ceil(largest * s);
    return integer * integer * static_cast<double>(tokens) < kExactIntegers;
  };
  while (!fits(scale)) {
    scale /= 2;
  }
  while (largest > 0 && fits(2 * scale)) {
    scale *= 2;
  }
  const auto fp64 = at::TensorOptions(at::kDouble);
  Tensor moment = at::zeros({hidden_size, hidden_size}, fp64);
  Tensor sum = at::zeros({hidden_size}, fp64);
  for (Tensor& x : classes) {
    x.mul_(scale).round_();
    moment.addmm_(x.t(), x);
    sum.add_(x.sum(0));
  }
  return MakeGram(moment / (scale * scale), sum / scale,
                  static_cast<double>(tokens));
}

// The names of a layer's classes, in the file's order.
std::vector<std::string> ClassesOf(const safetensors::File& file,
                                   int64_t layer) {
  const std::string prefix = fmt::format("layers.{}.", layer);
  std::vector<std::string> names;
  for (const safetensors::TensorInfo& tensor : file.tensors()) {
    if (tensor.name.starts_with(prefix) &&
        tensor.name != prefix + kImportance) {
      names.push_back(tensor.name);
    }
  }
  return names;
}

// The sums of a layer: of all domains together, and X^T y of each, the public
// one first.
struct LayerSums {
  explicit LayerSums(int64_t columns)
      : n(columns), all(columns * columns, 0.0) {}

  void Add(const Gram& domain) {
    for (size_t i = 0; i < all.size(); ++i) {
      all[i] += domain[i];
    }
    targets.emplace_back(domain.end() - n, domain.end());
  }

  int64_t n;
  Gram all;
  std::vector<std::vector<double>> targets;
};

// A column of the solution, normalised.
std::vector<double> SolveRow(const Cholesky& factor, std::vector<double> row,
                             double temperature) {
  factor.Solve(row);
  double square = 0;
  for (const double value : row) {
    square += value * value;
  }
  const double scale = square > 0 ? 1 / (std::sqrt(square) * temperature) : 0;
  for (double& value : row) {
    value *= scale;
  }
  return row;
}

StatusOr<RouterRows> SolveLayer(LayerSums sums, const RidgeOptions& options,
                                RidgeLayer* result) {
  const int64_t n = sums.n;
  double diagonal = 0;
  for (int64_t i = 0; i < n; ++i) {
    diagonal += sums.all[i * n + i];
  }
  const double ridge = options.lambda * diagonal / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    sums.all[i * n + i] += ridge;
  }
  ASSIGN_OR_RETURN(const Cholesky factor,
                   Cholesky::Factor(std::move(sums.all), n));
  result->condition = factor.Condition();
  if (!(result->condition <= options.max_condition)) {
    return FailedPrecondition(
        "the condition number is {:.3g}, wanted at most {:.3g}; raise "
        "routing.ridge_lambda",
        result->condition, options.max_condition);
  }
  const auto experts = static_cast<int64_t>(sums.targets.size());
  RouterRows rows{at::zeros({experts, n - 1}, at::kFloat),
                  at::zeros({experts}, at::kFloat)};
  auto row = rows.rows_ED.accessor<float, 2>();
  auto bias = rows.bias_E.accessor<float, 1>();
  const std::vector<double> common =
      SolveRow(factor, sums.targets[0], options.temperature);
  for (int64_t e = 1; e < experts; ++e) {
    const std::vector<double> own =
        SolveRow(factor, sums.targets[e], options.temperature);
    for (int64_t i = 0; i + 1 < n; ++i) {
      row[e][i] = static_cast<float>(own[i] - common[i]);
    }
    bias[e] = static_cast<float>(own[n - 1] - common[n - 1]);
  }
  return rows;
}

StatusOr<std::vector<RidgeLayer>> Solve(const RidgeOptions& options) {
  if (!(options.lambda > 0) || !(options.temperature > 0) ||
      options.num_layers < 1 || options.hidden_size < 1) {
    return InvalidArgument(
        "ridge: got lambda {}, temperature {}, {} layers of width {}, wanted "
        "positive numbers",
        options.lambda, options.temperature, options.num_layers,
        options.hidden_size);
  }
  ASSIGN_OR_RETURN(const auto common,
                   safetensors::File::Open(
                       options.public_statistics_path,
                       {.limits = safetensors::HeaderLimits::ForModel()}));
  std::vector<RouterStatistics> inputs;
  for (const RidgeInput& input : options.contributions) {
    StatusOr<RouterStatistics> statistics = RouterStatistics::Open(
        input.statistics_path, options.num_layers, options.hidden_size);
    RETURN_IF_ERROR(
        Annotate(statistics.status(), "contributions/" + input.contribution));
    inputs.push_back(*std::move(statistics));
  }
  const auto experts = static_cast<int64_t>(inputs.size()) + 1;
  std::vector<RidgeLayer> solved;
  std::vector<RouterRows> routers;
  for (int64_t l = 0; l < options.num_layers; ++l) {
    const std::vector<std::string> classes = ClassesOf(*common, l);
    if (classes.empty()) {
      routers.push_back({at::zeros({experts, options.hidden_size}, at::kFloat),
                         at::zeros({experts}, at::kFloat)});
      continue;
    }
    if (options.on_progress) {
      options.on_progress(
          static_cast<double>(l) / static_cast<double>(options.num_layers),
          fmt::format("layer {}", l));
    }
    LayerSums sums(options.hidden_size + 1);
    ASSIGN_OR_RETURN(const Gram background,
                     PublicGram(*common, classes, options.hidden_size));
    sums.Add(background);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const StatusOr<Tensor> moment = inputs[i].SecondMoment(l);
      RETURN_IF_ERROR(
          Annotate(moment.status(),
                   "contributions/" + options.contributions[i].contribution));
      ASSIGN_OR_RETURN(const Tensor sum, inputs[i].Sum(l));
      sums.Add(MakeGram(*moment, sum, static_cast<double>(inputs[i].tokens())));
    }
    RidgeLayer layer{.layer = l};
    StatusOr<RouterRows> rows = SolveLayer(std::move(sums), options, &layer);
    RETURN_IF_ERROR(Annotate(rows.status(), fmt::format("layer {}", l)));
    routers.push_back(*std::move(rows));
    solved.push_back(layer);
  }
  RETURN_IF_ERROR(WriteRouterFile(routers, options.output_path));
  return solved;
}

}  // namespace

StatusOr<std::vector<RidgeLayer>> SolveRidge(const RidgeOptions& options) {
  return model::CatchTorch([&] { return Solve(options); });
}

}  // namespace tributary::coordinator
