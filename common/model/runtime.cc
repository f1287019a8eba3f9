#include "common/model/runtime.h"

#include <malloc.h>

#include <thread>

#include "ATen/Parallel.h"
#include "common/model/errors.h"

namespace tributary::model {
namespace {

void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace

StatusOr<at::Device> PrepareRuntime(const RuntimeOptions& options) {
  static const bool once = [] {
    KeepFreedMemory();
    return true;
  }();
  static_cast<void>(once);
  return CatchTorch([&]() -> StatusOr<at::Device> {
    at::set_num_threads(
        options.threads > 0
            ? options.threads
            : std::max(1,
                       static_cast<int>(std::thread::hardware_concurrency())));
    const std::string name = options.device.empty() ? "cpu" : options.device;
    const bool known =
        name == "cpu" || name == "cuda" ||
        (name.starts_with("cuda:") && name.size() > 5 && name.size() < 9 &&
         name.find_first_not_of("0123456789", 5) == std::string::npos);
    if (!known) {
      return InvalidArgument("device: got \"{}\", wanted cpu, cuda or cuda:N",
                             name);
    }
    const at::Device device(name);
    if (device.is_cuda() && !at::hasCUDA()) {
      return FailedPrecondition(
          "device {}: this LibTorch has no CUDA or finds no GPU; use cpu, or "
          "install a CUDA build of torch",
          name);
    }
    if (device.is_cuda() && device.has_index() &&
        device.index() >= static_cast<int64_t>(at::getNumGPUs())) {
      return FailedPrecondition(
          "device {}: this machine has {} GPUs, wanted a "
          "number below that",
          name, static_cast<int64_t>(at::getNumGPUs()));
    }
    return device;
  });
}

}  // namespace tributary::model
