#pragma once

// The worker's confinement: file access by Landlock, network and program
// starts by seccomp. It holds for the process and everything it starts, and
// cannot be taken back.

#include <filesystem>
#include <vector>

#include "common/base/status.h"

namespace tributary::jobs {

struct SandboxOptions {
  // Files and folders (with everything below) that may be read.
  std::vector<std::filesystem::path> readable;
  // Folders in which everything may be read, written and created.
  std::vector<std::filesystem::path> writable;
};

// What is in force.
struct SandboxState {
  int landlock_abi = 0;  // 0: the kernel has no Landlock
  bool seccomp = false;
};

// Confines this process. System folders with libraries and CPU facts stay
// readable. FAILED_PRECONDITION when the kernel cannot enforce it: the caller
// must not go on. NOT_FOUND when a named path does not exist.
StatusOr<SandboxState> EnterSandbox(const SandboxOptions& options);

// What a confined process can still do; each flag should be false.
struct SandboxProbe {
  bool inet_socket = false;
  bool unix_socket = false;
  bool execute = false;
};
SandboxProbe ProbeSandbox();

}  // namespace tributary::jobs
