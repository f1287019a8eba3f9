#include "contributor/budget/machine_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

namespace tributary::contributor {
namespace {

// "key: N kB" of a file of /proc; 0 when it is not there.
int64_t KibibytesOf(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    int64_t kibibytes = 0;
    if (word == key && file >> kibibytes) {
      return kibibytes;
    }
  }
  return 0;
}

// A limit in a file of its own; the largest number for "max" or no file.
int64_t GroupLimit() {
  for (const char* path : {"/sys/fs/cgroup/memory.max",
                           "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    int64_t bytes = 0;
    if (file >> bytes && bytes > 0) {
      return bytes;
    }
  }
  return std::numeric_limits<int64_t>::max();
}

}  // namespace

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

int64_t PeakResidentBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

AvailableMemory MemoryFor(uint64_t limit_bytes) {
  AvailableMemory memory = {.bytes = std::numeric_limits<int64_t>::max(),
                            .name = "this machine"};
  const int64_t free = KibibytesOf("/proc/meminfo", "MemAvailable:") * 1024;
  if (free > 0) {
    memory.bytes = free + ResidentBytes();
  }
  if (const int64_t group = GroupLimit(); group < memory.bytes) {
    memory = {.bytes = group, .name = "the control group"};
  }
  const auto limit = static_cast<int64_t>(
      std::min<uint64_t>(limit_bytes, std::numeric_limits<int64_t>::max()));
  if (limit > 0 && limit < memory.bytes) {
    memory = {.bytes = limit, .name = "the job's memory limit"};
  }
  return memory;
}

}  // namespace tributary::contributor
