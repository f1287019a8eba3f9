#include "common/tokenizer/unicode_class.h"

#include <algorithm>
#include <iterator>
#include <vector>

namespace tributary::tokenizer {
namespace {

struct Range {
  uint32_t first;
  uint8_t classes;
};

constexpr Range kRanges[] = {
#include "common/tokenizer/unicode_ranges.inc"
};

constexpr size_t kCodePoints = 0x110000;

std::vector<uint8_t> Expand() {
  std::vector<uint8_t> classes(kCodePoints);
  for (size_t i = 0; i < std::size(kRanges); ++i) {
    const size_t end =
        i + 1 < std::size(kRanges) ? kRanges[i + 1].first : kCodePoints;
    std::fill(classes.begin() + kRanges[i].first,
              classes.begin() + static_cast<ptrdiff_t>(end),
              kRanges[i].classes);
  }
  return classes;
}

}  // namespace

const uint8_t* CodePointClasses() {
  static const std::vector<uint8_t> classes = Expand();
  return classes.data();
}

}  // namespace tributary::tokenizer
