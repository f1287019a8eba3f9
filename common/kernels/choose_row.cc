#include "common/kernels/choose_row.h"

#include <algorithm>

#include "common/kernels/vector_loops.h"

namespace tributary::kernels {
namespace {

// Puts row[at] among the chosen, which are `count`, when it is larger than one
// of them or there are fewer than k.
inline void Take(const float* row, int64_t at, int64_t k, float* values,
                 int64_t* chosen, int64_t* count) {
  const float value = row[at];
  if (*count == k && !(value > values[k - 1])) {
    return;
  }
  int64_t place = *count < k ? (*count)++ : k - 1;
  for (; place > 0 && value > values[place - 1]; --place) {
    values[place] = values[place - 1];
    chosen[place] = chosen[place - 1];
  }
  values[place] = value;
  chosen[place] = at;
}

}  // namespace

TRIBUTARY_VECTOR_CLONES
void ChooseOfRow(const float* row, int64_t n, int64_t k, float* values,
                 int64_t* chosen) {
  int64_t count = 0;
  int64_t i = 0;
  for (; i < k; ++i) {
    Take(row, i, k, values, chosen, &count);
  }
  // Most blocks hold nothing that is large enough.
  constexpr int64_t kBlock = 64;
  while (i < n) {
    const int64_t end = std::min(n, i + kBlock);
    const float least = values[k - 1];
    int32_t larger = 0;
    for (int64_t j = i; j < end; ++j) {
      larger += row[j] > least ? 1 : 0;
    }
    for (; larger > 0 && i < end; ++i) {
      Take(row, i, k, values, chosen, &count);
    }
    i = end;
  }
  std::sort(chosen, chosen + k);
}

}  // namespace tributary::kernels
