#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/ledger_entry.h"

namespace tributary::contributor {

// The site's own history of what left it, when, and who approved: an
// append-only file of signed, chained records, one a line. One object at a
// time: others wait for it.
class Ledger {
 public:
  // Reads and verifies the whole file. DATA_LOSS or UNAUTHENTICATED naming the
  // first bad line: nothing may be appended to a damaged history. A last line
  // that was cut by a crash is dropped: its event had not happened yet.
  static StatusOr<Ledger> Open(const std::filesystem::path& path,
                               const crypto::PrivateKey& key);

  // Appends and fsyncs before it returns.
  Status Append(const std::string& actor, const std::string& action,
                const std::string& subject, const std::string& detail_json,
                const Clock& clock);

  const std::vector<manifest::LedgerEntry>& entries() const { return entries_; }

 private:
  Ledger(std::filesystem::path path, crypto::PrivateKey key, FileLock lock)
      : path_(std::move(path)), key_(std::move(key)), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  crypto::PrivateKey key_;
  FileLock lock_;
  manifest::Chain chain_;
  std::vector<manifest::LedgerEntry> entries_;
  uint64_t size_ = 0;  // bytes of whole lines
};

}  // namespace tributary::contributor
