#pragma once

#include <cstdint>
#include <string>

namespace tributary::contributor {

struct AvailableMemory {
  int64_t bytes = 0;
  std::string name;  // "this machine", "the job's memory limit", ...
};

// What this process may still use with what it uses already: the least of the
// kernel's MemAvailable and its own resident size, the control group's limit,
// and `limit_bytes` (0: none).
AvailableMemory MemoryFor(uint64_t limit_bytes);

// This process: resident now, and at its highest so far.
int64_t ResidentBytes();
int64_t PeakResidentBytes();

}  // namespace tributary::contributor
