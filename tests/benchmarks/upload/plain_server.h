#pragma once

#include <string>

namespace tributary::benchmarks {

// The data path of an upload without TLS, identities and database, for
// measurements only: messages over raw buffers, the work pool, the blob
// writer. Writes its address to FOLDER/address and serves until SIGTERM.
int ServePlain(const std::string& folder);

}  // namespace tributary::benchmarks
