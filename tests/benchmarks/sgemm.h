#pragma once

#include <cstdint>
#include <functional>

namespace tributary::benchmarks {

// One fp32 product [m, k] x [n, k]^T -> [m, n] into a warm buffer: what a
// linear layer costs at least. The matrices belong to the returned function.
std::function<void()> MakeSgemm(int64_t m, int64_t k, int64_t n);

inline double ProductFlops(int64_t m, int64_t k, int64_t n) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(k) *
         static_cast<double>(n);
}

}  // namespace tributary::benchmarks
