#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define TRIBUTARY_HOST_DEVICE __host__ __device__
#else
#define TRIBUTARY_HOST_DEVICE
#endif

namespace tributary::kernels {

// Element `column` of sum over k of weights[k] * out[rows[k]] for one token, as
// CombineRows defines it: fp32 whatever the element's type, in the order of k.
// The body of the GPU kernel; compiled for the host too, where it is tested.
template <typename Element>
TRIBUTARY_HOST_DEVICE inline float CombinedElement(const Element* out,
                                                   const int64_t* rows,
                                                   const float* weights,
                                                   int64_t count, int64_t width,
                                                   int64_t column) {
  float sum = 0.0f;
  for (int64_t k = 0; k < count; ++k) {
    sum += weights[k] * static_cast<float>(out[rows[k] * width + column]);
  }
  return sum;
}

}  // namespace tributary::kernels
