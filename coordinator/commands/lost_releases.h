#pragma once

// Releases that were published after the backup that a database is restored
// from. Readers hold copies of them, so that their numbers are never given
// again, and nobody could tell which of their experts opted out.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {

// Digests by number; a digest is empty where it is not known.
using KnownReleases = std::map<int64_t, std::string>;

// Adds those of a database.
void AddReleasesOf(Transaction& transaction, KnownReleases& known);

// Adds those whose folders are left in a home.
void AddReleaseFolders(const Home& home, KnownReleases& known);

// Writes those that are newer than the restored database as WITHDRAWN, so that
// readers mark their copies; returns their names. Without any anchor there is
// nothing that they could belong to.
std::vector<std::string> WithdrawLost(const Core& core,
                                      Transaction& transaction,
                                      const KnownReleases& known);

}  // namespace tributary::coordinator
