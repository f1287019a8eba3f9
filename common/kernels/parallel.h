#pragma once

#include <algorithm>
#include <cstdint>

#include "c10/util/FunctionRef.h"

namespace tributary::kernels {

// Calls body(from, to) for parts that together are [begin, end), each on one of
// LibTorch's threads and of at least `grain` elements, and waits for all of
// them; an exception of a part is thrown again. Within a part it runs in the
// calling thread. Which part a thread gets depends on the number of threads:
// results must not.
//
// at::parallel_for is a header that is serial, without a warning, in a file
// compiled without OpenMP: nothing else calls it.
void ParallelFor(int64_t begin, int64_t end, int64_t grain,
                 c10::function_ref<void(int64_t, int64_t)> body);

// The grain for items of so many elements each: less than this takes a thread
// less time than being woken up for it.
inline int64_t GrainOf(int64_t elements) {
  return std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(1, elements));
}

}  // namespace tributary::kernels
