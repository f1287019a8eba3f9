#pragma once

// CombineRows on a GPU, for builds with TRIBUTARY_CUDA: one pass, where tensor
// operations would write the gathered [T, K, D] first.

#include <cstdint>

namespace tributary::kernels {

// All arrays are dense and on the current device: out [N, D], rows [T, K],
// weights [T, K], y [T, D]. `stream` is a cudaStream_t. Returns a cudaError_t
// as an integer: 0 when the kernel was started.
int CombineRowsFloat(const float* out, const int64_t* rows,
                     const float* weights, int64_t tokens, int64_t count,
                     int64_t width, float* y, void* stream);
// The same for bf16, given as its bits.
int CombineRowsBf16(const uint16_t* out, const int64_t* rows,
                    const float* weights, int64_t tokens, int64_t count,
                    int64_t width, uint16_t* y, void* stream);

}  // namespace tributary::kernels
