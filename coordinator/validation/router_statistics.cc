#include "coordinator/validation/router_statistics.h"

#include <algorithm>
#include <cmath>

#include "common/model/tensor_io.h"
#include "coordinator/validation/anchor_statistics.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

constexpr char kTokens[] = "tokens";
constexpr int64_t kMaxTokens = int64_t{1} << 48;
// As fractions of the mean diagonal element: differences between halves of a
// symmetric matrix, and what rounding of products may take below zero.
constexpr double kAsymmetry = 1e-9;
constexpr double kRounding = 1e-4;

std::string MomentName(int64_t layer) {
  return fmt::format("layers.{}.second_moment", layer);
}

std::string SumName(int64_t layer) {
  return fmt::format("layers.{}.sum", layer);
}

// What is wrong with one layer, if anything.
Status CheckLayer(const RouterStatistics& statistics, int64_t layer,
                  double prose_power, double max_rms_ratio) {
  ASSIGN_OR_RETURN(const Tensor moment, statistics.SecondMoment(layer));
  ASSIGN_OR_RETURN(const Tensor sum, statistics.Sum(layer));
  if (!at::isfinite(moment).all().item<bool>() ||
      !at::isfinite(sum).all().item<bool>()) {
    return InvalidArgument("layer {}: numbers that are not finite", layer);
  }
  const auto tokens = static_cast<double>(statistics.tokens());
  const double power = moment.diagonal().mean().item<double>();
  const double limit = prose_power * max_rms_ratio * max_rms_ratio;
  if (!(power > 0) || power / tokens > limit) {
    return InvalidArgument(
        "layer {}: the mean square of inputs is {:.4g}, wanted one above 0 and "
        "at most {:.4g}",
        layer, power / tokens, limit);
  }
  if ((moment - moment.t()).abs().max().item<double>() > kAsymmetry * power) {
    return InvalidArgument("layer {}: the second moment is not symmetric",
                           layer);
  }
  // E[x x^T] - E[x] E[x]^T is a covariance.
  Tensor covariance = moment - at::outer(sum, sum) / tokens;
  covariance.diagonal().add_(kRounding * power);
  const auto [lower, info] = at::linalg_cholesky_ex(covariance);
  if (info.item<int>() != 0 || !at::isfinite(lower).all().item<bool>()) {
    return InvalidArgument(
        "layer {}: second moment, sum and {} tokens are not those of any text",
        layer, statistics.tokens());
  }
  return absl::OkStatus();
}

StatusOr<double> ProsePower(const safetensors::File& file, int64_t layer) {
  ASSIGN_OR_RETURN(
      const Tensor x,
      model::ReadTensor(file, fmt::format("layers.{}.{}", layer, kProseClass),
                        at::kFloat));
  return x.square().mean().item<double>();
}

Status CheckAll(const std::filesystem::path& path, int64_t num_layers,
                int64_t hidden_size, const safetensors::File& public_statistics,
                double max_rms_ratio) {
  ASSIGN_OR_RETURN(const RouterStatistics statistics,
                   RouterStatistics::Open(path, num_layers, hidden_size));
  for (int64_t l = 0; l < num_layers; ++l) {
    const bool covered = public_statistics.Find(fmt::format(
                             "layers.{}.{}", l, kProseClass)) != nullptr;
    if (covered != (l >= statistics.first_layer())) {
      return InvalidArgument(
          "the statistics begin in layer {}, wanted the layers that the "
          "anchor's public statistics have",
          statistics.first_layer());
    }
    if (covered) {
      ASSIGN_OR_RETURN(const double power, ProsePower(public_statistics, l));
      RETURN_IF_ERROR(CheckLayer(statistics, l, power, max_rms_ratio));
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<RouterStatistics> RouterStatistics::Open(
    const std::filesystem::path& path, int64_t num_layers,
    int64_t hidden_size) {
  using safetensors::DType;
  RouterStatistics result;
  ASSIGN_OR_RETURN(
      result.file_,
      safetensors::File::Open(
          path, {.limits = safetensors::HeaderLimits::ForExpert()}));
  const safetensors::File& file = *result.file_;
  const auto check = [&](const std::string& name, DType dtype,
                         const std::vector<int64_t>& shape) -> Status {
    const safetensors::TensorInfo* tensor = file.Find(name);
    if (tensor == nullptr || tensor->dtype != dtype ||
        !std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(),
                    shape.end())) {
      return InvalidArgument(
          "router statistics: {} is missing or of another type or shape", name);
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(check(kTokens, DType::kI64, {}));
  result.first_layer_ = num_layers;
  for (int64_t l = num_layers - 1;
       l >= 0 && file.Find(MomentName(l)) != nullptr; --l) {
    RETURN_IF_ERROR(
        check(MomentName(l), DType::kF64, {hidden_size, hidden_size}));
    RETURN_IF_ERROR(check(SumName(l), DType::kF64, {hidden_size}));
    result.first_layer_ = l;
  }
  const int64_t wanted = 1 + 2 * (num_layers - result.first_layer_);
  if (wanted < 3 || static_cast<int64_t>(file.tensors().size()) != wanted ||
      !file.metadata().empty()) {
    return InvalidArgument(
        "router statistics: got {} tensors, wanted {} (tokens, and second "
        "moment and sum of the last layers) without metadata",
        file.tensors().size(), std::max<int64_t>(3, wanted));
  }
  ASSIGN_OR_RETURN(const Tensor tokens, model::ReadTensor(file, kTokens));
  result.tokens_ = tokens.item<int64_t>();
  if (result.tokens_ < 1 || result.tokens_ > kMaxTokens) {
    return InvalidArgument("router statistics: got {} tokens, wanted 1 to {}",
                           result.tokens_, kMaxTokens);
  }
  return result;
}

StatusOr<Tensor> RouterStatistics::SecondMoment(int64_t layer) const {
  return model::ReadTensor(*file_, MomentName(layer));
}

StatusOr<Tensor> RouterStatistics::Sum(int64_t layer) const {
  return model::ReadTensor(*file_, SumName(layer));
}

GateResult CheckRouterStatistics(const std::filesystem::path& path,
                                 int64_t num_layers, int64_t hidden_size,
                                 const safetensors::File& public_statistics,
                                 double max_rms_ratio) {
  const Status status =
      CheckAll(path, num_layers, hidden_size, public_statistics, max_rms_ratio);
  return {.name = "statistics",
          .passed = status.ok(),
          .detail = status.ok() ? "the router statistics are those of a text"
                                : std::string(status.message())};
}

}  // namespace tributary::coordinator
