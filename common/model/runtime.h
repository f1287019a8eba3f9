#pragma once

#include <string>

#include "ATen/ATen.h"
#include "common/base/status.h"

namespace tributary::model {

struct RuntimeOptions {
  int threads = 0;  // 0: one per core
  std::string device = "cpu";
};

// Prepares a worker process for tensor work: the number of threads, and an
// allocator that keeps freed memory (fresh pages cost more than the arithmetic
// on them). Returns the device. INVALID_ARGUMENT for a name that is not cpu,
// cuda or cuda:N; FAILED_PRECONDITION when there is no such device. Calling it
// again changes the threads only.
StatusOr<at::Device> PrepareRuntime(const RuntimeOptions& options);

}  // namespace tributary::model
