#include "common/safetensors/shape.h"

#include <cstdlib>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace tributary::safetensors {

Shape::Shape(std::span<const int64_t> sizes) {
  if (sizes.size() > kMaxRank) {
    std::abort();
  }
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  rank_ = sizes.size();
}

std::optional<Shape> Shape::FromSpan(std::span<const int64_t> sizes) {
  if (sizes.size() > kMaxRank) {
    return std::nullopt;
  }
  return Shape(sizes);
}

std::optional<int64_t> Shape::Elements() const {
  int64_t elements = 1;
  for (const int64_t size : *this) {
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements)) {
      return std::nullopt;
    }
  }
  return elements;
}

std::string Shape::ToString() const {
  return fmt::format("[{}]", fmt::join(begin(), end(), ", "));
}

}  // namespace tributary::safetensors
