#pragma once

#include <cstdint>
#include <filesystem>

#include "common/base/status.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {

struct BackupReport {
  int64_t blobs = 0;
  uint64_t bytes = 0;
  // Blobs that a purge deleted while the backup ran.
  int64_t gone = 0;
};

// Copies a home into the new folder `target`, which then is a home itself: the
// database at one moment, configuration, keys and every blob, each verified.
// A server may run. Unfinished uploads are left out: contributors send them
// again. ALREADY_EXISTS: the target is there; DATA_LOSS: a blob is damaged.
StatusOr<BackupReport> BackUpHome(const Home& home,
                                  const std::filesystem::path& target);

// Copies configuration and keys from one home to another.
Status CopyKeys(const Home& from, const Home& to);

}  // namespace tributary::coordinator
