#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "common/kernels/combine_rows_cuda.h"
#include "common/kernels/combined_element.h"

namespace tributary::kernels {
namespace {

// One block per token, its threads along the row.
template <typename Element>
__global__ void CombineRowsKernel(const Element* out, const int64_t* rows,
                                  const float* weights, int64_t tokens,
                                  int64_t count, int64_t width, Element* y) {
  for (int64_t t = blockIdx.x; t < tokens; t += gridDim.x) {
    for (int64_t d = threadIdx.x; d < width; d += blockDim.x) {
      y[t * width + d] = static_cast<Element>(CombinedElement(
          out, rows + t * count, weights + t * count, count, width, d));
    }
  }
}

template <typename Element>
int Start(const Element* out, const int64_t* rows, const float* weights,
          int64_t tokens, int64_t count, int64_t width, Element* y,
          void* stream) {
  if (tokens == 0 || width == 0) {
    return cudaSuccess;
  }
  constexpr int64_t kMostBlocks = 65535;
  const auto blocks =
      static_cast<unsigned>(tokens < kMostBlocks ? tokens : kMostBlocks);
  CombineRowsKernel<<<blocks, 256, 0, static_cast<cudaStream_t>(stream)>>>(
      out, rows, weights, tokens, count, width, y);
  return cudaGetLastError();
}

}  // namespace

int CombineRowsFloat(const float* out, const int64_t* rows,
                     const float* weights, int64_t tokens, int64_t count,
                     int64_t width, float* y, void* stream) {
  return Start(out, rows, weights, tokens, count, width, y, stream);
}

int CombineRowsBf16(const uint16_t* out, const int64_t* rows,
                    const float* weights, int64_t tokens, int64_t count,
                    int64_t width, uint16_t* y, void* stream) {
  return Start(reinterpret_cast<const __nv_bfloat16*>(out), rows, weights,
               tokens, count, width, reinterpret_cast<__nv_bfloat16*>(y),
               stream);
}

}  // namespace tributary::kernels
