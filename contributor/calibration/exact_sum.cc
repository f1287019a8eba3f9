#include "contributor/calibration/exact_sum.h"

#include <cmath>

namespace tributary::contributor {
namespace {

constexpr int kLimbBits = 40;
constexpr int64_t kLimbMask = (int64_t{1} << kLimbBits) - 1;
constexpr double kUnitsPerOne[] = {0x1p20, 0x1p60, 0x1p100};
constexpr double kUnits[] = {0x1p-20, 0x1p-60, 0x1p-100};
constexpr double kLargestValue = 0x1p40;
constexpr int64_t kLargestLimb = int64_t{1} << 62;

std::array<int64_t, ExactSum::kLimbs> Split(double value) {
  std::array<int64_t, ExactSum::kLimbs> limbs = {};
  for (int i = 0; i < ExactSum::kLimbs; ++i) {
    limbs[i] = static_cast<int64_t>(value * kUnitsPerOne[i]);
    value -= static_cast<double>(limbs[i]) * kUnits[i];
  }
  return limbs;
}

}  // namespace

StatusOr<ExactSum> ExactSum::FromLimbs(std::vector<int64_t> limbs) {
  const size_t channels = limbs.size() / kLimbs;
  bool valid = limbs.size() == channels * kLimbs;
  for (size_t i = 0; valid && i < limbs.size(); ++i) {
    valid =
        limbs[i] >= 0 && limbs[i] <= (i < channels ? kLargestLimb : kLimbMask);
  }
  if (!valid) {
    return InvalidArgument(
        "sums: these are not {} limbs per channel of a sum; calibrate again",
        kLimbs);
  }
  return ExactSum(std::move(limbs));
}

Status ExactSum::AddLimbs(int64_t channel,
                          const std::array<int64_t, kLimbs>& limbs) {
  const int64_t stride = channels();
  int64_t carry = 0;
  for (int i = kLimbs - 1; i >= 0; --i) {
    int64_t& limb = limbs_[i * stride + channel];
    limb += limbs[i] + carry;
    carry = 0;
    if (i > 0) {
      carry = limb >> kLimbBits;
      limb &= kLimbMask;
    }
  }
  if (limbs_[channel] > kLargestLimb) {
    return InvalidArgument("sums: the sum of channel {} is too large", channel);
  }
  return absl::OkStatus();
}

Status ExactSum::Add(std::span<const double> values) {
  if (static_cast<int64_t>(values.size()) != channels()) {
    return InvalidArgument("sums: got {} channels, wanted {}", values.size(),
                           channels());
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] >= 0 && values[i] <= kLargestValue)) {
      return InvalidArgument(
          "sums: channel {} adds {}, wanted a finite number of at least 0; is "
          "the model damaged?",
          i, values[i]);
    }
  }
  for (size_t i = 0; i < values.size(); ++i) {
    RETURN_IF_ERROR(AddLimbs(static_cast<int64_t>(i), Split(values[i])));
  }
  return absl::OkStatus();
}

Status ExactSum::Add(const ExactSum& other) {
  if (other.channels() != channels()) {
    return InvalidArgument("sums: got {} channels, wanted {}", other.channels(),
                           channels());
  }
  const int64_t stride = channels();
  for (int64_t i = 0; i < stride; ++i) {
    RETURN_IF_ERROR(AddLimbs(i, {other.limbs_[i], other.limbs_[stride + i],
                                 other.limbs_[2 * stride + i]}));
  }
  return absl::OkStatus();
}

std::vector<double> ExactSum::Values() const {
  const int64_t stride = channels();
  std::vector<double> values(stride);
  for (int64_t i = 0; i < stride; ++i) {
    for (int limb = kLimbs - 1; limb >= 0; --limb) {
      values[i] +=
          static_cast<double>(limbs_[limb * stride + i]) * kUnits[limb];
    }
  }
  return values;
}

}  // namespace tributary::contributor
