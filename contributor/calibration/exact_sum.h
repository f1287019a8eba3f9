#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

// Sums of non-negative fp64 values, one per channel, that do not depend on the
// order or the grouping of the additions: a fixed-point number of three limbs
// of 40 bits with the units 2^-20, 2^-60 and 2^-100. A value is cut to a
// multiple of 2^-100 when it is added; from then on everything is exact, as
// long as the sum stays below 2^42.
class ExactSum {
 public:
  static constexpr int kLimbs = 3;

  explicit ExactSum(int64_t channels) : limbs_(kLimbs * channels, 0) {}
  // Limbs as `limbs()` gives them. INVALID_ARGUMENT for values that no sum
  // has.
  static StatusOr<ExactSum> FromLimbs(std::vector<int64_t> limbs);

  int64_t channels() const {
    return static_cast<int64_t>(limbs_.size()) / kLimbs;
  }

  // Adds values[i] to channel i. INVALID_ARGUMENT for values that are negative,
  // not finite or above 2^40, and when a sum gets too large; nothing is changed
  // then.
  Status Add(std::span<const double> values);
  // Adds all channels of `other`. The same errors.
  Status Add(const ExactSum& other);

  std::vector<double> Values() const;
  // [kLimbs, channels], the largest unit first; equal sums have equal limbs.
  const std::vector<int64_t>& limbs() const { return limbs_; }

 private:
  explicit ExactSum(std::vector<int64_t> limbs) : limbs_(std::move(limbs)) {}
  Status AddLimbs(int64_t channel, const std::array<int64_t, kLimbs>& limbs);

  std::vector<int64_t> limbs_;
};

}  // namespace tributary::contributor
