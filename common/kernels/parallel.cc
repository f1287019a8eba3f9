#include "common/kernels/parallel.h"

#include "ATen/Parallel.h"

#if !defined(_OPENMP) || !defined(INTRA_OP_PARALLEL)
#error "Compile this file with OpenMP: without it every loop is serial."
#endif

namespace tributary::kernels {

void ParallelFor(int64_t begin, int64_t end, int64_t grain,
                 c10::function_ref<void(int64_t, int64_t)> body) {
  at::parallel_for(begin, end, grain, body);
}

}  // namespace tributary::kernels
