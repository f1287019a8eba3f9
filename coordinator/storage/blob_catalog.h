#pragma once

// Blobs and the rows that say why they are kept, held together.

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "coordinator/blob/blob_store.h"
#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// What a collection did.
struct CollectionReport {
  int64_t deleted_blobs = 0;
  int64_t deleted_bytes = 0;
  int64_t deleted_uploads = 0;
};

// What the database says is there and the blob store does not have.
struct MissingBlob {
  BlobName name;
  std::vector<std::string> owners;  // resource names
};

// Thread-safe. A blob is deleted only when nothing refers to it, and never
// between the moment its file appears and its row is committed.
class BlobCatalog {
 public:
  BlobCatalog(Database& database, BlobStore& store, const Clock& clock)
      : database_(database), store_(store), clock_(clock) {}

  // Held from before a blob's file appears until its row is committed.
  using CommitGuard = std::shared_lock<std::shared_mutex>;
  CommitGuard GuardCommit() { return CommitGuard(mutex_); }

  // Deletes those of `names` that nothing refers to; returns them.
  StatusOr<std::vector<BlobName>> DeleteUnreferenced(
      const std::vector<BlobName>& names);

  // Mark and sweep: expired uploads, partials without a row, blobs without a
  // reference, files without a row.
  StatusOr<CollectionReport> Collect();

  // Blobs that are needed and not there, or there with another size: the disk
  // lost them, or a backup was restored without them. At most `limit`.
  StatusOr<std::vector<MissingBlob>> FindMissing(size_t limit);

  BlobStore& store() { return store_; }

 private:
  Database& database_;
  BlobStore& store_;
  const Clock& clock_;
  std::shared_mutex mutex_;  // shared: commits; exclusive: deletion
};

}  // namespace tributary::coordinator
