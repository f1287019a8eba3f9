#pragma once

#include <cstdint>

namespace tributary::kernels {

// The indices of the k largest of n >= k numbers, ascending; of equal ones the
// lowest. `values` has room for k and gets the chosen numbers, largest first.
void ChooseOfRow(const float* row, int64_t n, int64_t k, float* values,
                 int64_t* chosen);

}  // namespace tributary::kernels
