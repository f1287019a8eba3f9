#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tributary::safetensors {

// The sizes of a tensor's dimensions, kept without an allocation: opening a
// file with thousands of tensors should cost little. No dimension: a scalar.
class Shape {
 public:
  static constexpr size_t kMaxRank = 8;

  Shape() = default;
  // More than kMaxRank dimensions are a programming error (see FromSpan).
  Shape(std::initializer_list<int64_t> sizes)  // NOLINT: reads as a literal
      : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes);

  // Nothing when there are more than kMaxRank dimensions.
  static std::optional<Shape> FromSpan(std::span<const int64_t> sizes);

  // Adds a dimension; false when there are kMaxRank already.
  bool push_back(int64_t size) {
    if (rank_ == kMaxRank) {
      return false;
    }
    sizes_[rank_++] = size;
    return true;
  }

  size_t size() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  const int64_t* data() const { return sizes_.data(); }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }
  int64_t operator[](size_t i) const { return sizes_[i]; }
  std::vector<int64_t> ToVector() const { return {begin(), end()}; }

  // The number of elements, or nothing when it does not fit into int64.
  std::optional<int64_t> Elements() const;
  // "[2, 3]"; "[]" for a scalar.
  std::string ToString() const;

  friend bool operator==(const Shape& a, const Shape& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }
  friend bool operator==(const Shape& a, const std::vector<int64_t>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  std::array<int64_t, kMaxRank> sizes_ = {};
  size_t rank_ = 0;
};

}  // namespace tributary::safetensors
