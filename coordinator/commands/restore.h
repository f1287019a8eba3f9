#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "coordinator/storage/blob_catalog.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {

struct RestoreOptions {
  // A folder that `backup` made, or a database alone.
  std::filesystem::path backup;
  // Whether a database in the home is put aside.
  enum class Present { kRefuse, kReplace } present = Present::kRefuse;
};

struct RestoreReport {
  // The database that was there, under its new name; empty when there was none.
  std::filesystem::path replaced;
  // Why the database that was there could not be read, if so: withdrawals and
  // revocations that only it knew are not repeated.
  Status replaced_damage;
  // Contributions that the backup has and that were withdrawn after it was
  // made: withdrawn again.
  std::vector<std::string> withdrawn_again;
  // contributors/x and readers/y that the replaced database knew to be revoked
  // and the backup did not: revoked again.
  std::vector<std::string> revoked_again;
  // releases/n that were made after the backup: written down as WITHDRAWN, so
  // that their numbers are never given again and readers mark their copies.
  std::vector<std::string> lost_releases;
  int64_t copied_blobs = 0;
  uint64_t copied_bytes = 0;
  // Needed by the database and neither here nor in the backup.
  std::vector<MissingBlob> missing;
};

// Makes `home` what the backup was: database, and whatever of configuration,
// keys and blobs the home lacks. Blobs that the home has are kept. A backup of
// an older version is migrated. What was withdrawn since stays withdrawn, who
// was revoked since stays revoked: neither is undone by a restore. No server
// may run.
//
// NOT_FOUND: no such backup. FAILED_PRECONDITION: a server runs, the home has a
// database and `present` refuses, or a newer version made the backup.
// DATA_LOSS: the backup itself is damaged; the home is as before.
StatusOr<RestoreReport> RestoreHome(const Home& home,
                                    const RestoreOptions& options,
                                    const Clock& clock);

}  // namespace tributary::coordinator
