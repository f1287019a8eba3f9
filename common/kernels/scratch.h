#pragma once

#include "ATen/ATen.h"

namespace tributary::kernels {

// What a buffer is for; buffers of different uses never overlap.
enum class Scratch {
  kConvertedWeight,
  kGatheredRows,
  kGate,
  kUp,
  kExpertOutputs,
  kNarrowInput,
  kNarrowOutput,
};

// A contiguous tensor of undefined content, for a value that does not outlive
// the caller: on CPUs a view of memory that this thread keeps for the next
// caller, because pages that were touched before cost a fraction of fresh ones;
// elsewhere a new tensor of the device's caching allocator. A second call for
// the same use invalidates the first one's tensor.
at::Tensor ScratchTensor(Scratch use, at::IntArrayRef sizes,
                         const at::TensorOptions& options);

// Bytes that this thread keeps, and an end to keeping them.
int64_t ScratchBytes();
void ReleaseScratch();

}  // namespace tributary::kernels
