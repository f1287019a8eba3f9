#include "common/kernels/scratch.h"

#include <array>

namespace tributary::kernels {
namespace {

constexpr size_t kUses = static_cast<size_t>(Scratch::kNarrowOutput) + 1;

std::array<at::Tensor, kUses>& Buffers() {
  thread_local std::array<at::Tensor, kUses> buffers;
  return buffers;
}

}  // namespace

at::Tensor ScratchTensor(Scratch use, at::IntArrayRef sizes,
                         const at::TensorOptions& options) {
  if (!options.device().is_cpu()) {
    return at::empty(sizes, options);
  }
  const int64_t elements = c10::multiply_integers(sizes);
  const auto bytes =
      elements * static_cast<int64_t>(options.dtype().itemsize());
  at::Tensor& buffer = Buffers()[static_cast<size_t>(use)];
  if (!buffer.defined() || buffer.numel() < bytes) {
    buffer = at::Tensor();  // its pages may serve the larger one
    buffer = at::empty({bytes}, at::TensorOptions(at::kCPU).dtype(at::kByte));
  }
  return buffer.narrow(0, 0, bytes)
      .view(c10::typeMetaToScalarType(options.dtype()))
      .view(sizes);
}

int64_t ScratchBytes() {
  int64_t bytes = 0;
  for (const at::Tensor& buffer : Buffers()) {
    bytes += buffer.defined() ? buffer.numel() : 0;
  }
  return bytes;
}

void ReleaseScratch() { Buffers().fill(at::Tensor()); }

}  // namespace tributary::kernels
