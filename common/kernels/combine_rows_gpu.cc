#include "common/kernels/combine_rows_gpu.h"

#include "c10/cuda/CUDAException.h"
#include "c10/cuda/CUDAGuard.h"
#include "c10/cuda/CUDAStream.h"
#include "common/kernels/combine_rows_cuda.h"

namespace tributary::kernels {

at::Tensor CombineRowsOnGpu(const at::Tensor& out_ND, const at::Tensor& rows_TK,
                            const at::Tensor& weights_TK) {
  const c10::cuda::CUDAGuard guard(out_ND.device());
  const at::Tensor out = out_ND.contiguous();
  const at::Tensor rows = rows_TK.contiguous();
  const at::Tensor weights = weights_TK.to(at::kFloat).contiguous();
  const int64_t tokens = rows.size(0);
  const int64_t width = out.size(1);
  at::Tensor y = at::empty({tokens, width}, out.options());
  void* stream = c10::cuda::getCurrentCUDAStream().stream();
  const int64_t* row = rows.const_data_ptr<int64_t>();
  const float* weight = weights.const_data_ptr<float>();
  const int error =
      out.scalar_type() == at::kBFloat16
          ? CombineRowsBf16(static_cast<const uint16_t*>(out.const_data_ptr()),
                            row, weight, tokens, rows.size(1), width,
                            static_cast<uint16_t*>(y.mutable_data_ptr()),
                            stream)
          : CombineRowsFloat(out.const_data_ptr<float>(), row, weight, tokens,
                             rows.size(1), width, y.mutable_data_ptr<float>(),
                             stream);
  C10_CUDA_CHECK(static_cast<cudaError_t>(error));
  return y;
}

}  // namespace tributary::kernels
