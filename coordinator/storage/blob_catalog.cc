#include "coordinator/storage/blob_catalog.h"

#include <algorithm>
#include <set>

#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {

StatusOr<std::vector<BlobName>> BlobCatalog::DeleteUnreferenced(
    const std::vector<BlobName>& names) {
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  std::vector<BlobName> deleted;
  for (const BlobName& name : names) {
    bool forgotten = false;
    RETURN_IF_ERROR(database_.Transact([&](Transaction& transaction) {
      forgotten = BlobTable(transaction).Forget(name);
      return absl::OkStatus();
    }));
    if (forgotten) {
      // A crash here leaves a file without a row, which Collect deletes.
      RETURN_IF_ERROR(store_.Delete(name));
      deleted.push_back(name);
    }
  }
  return deleted;
}

StatusOr<std::vector<MissingBlob>> BlobCatalog::FindMissing(size_t limit) {
  std::vector<BlobName> known;
  RETURN_IF_ERROR(database_.Transact([&](Transaction& transaction) {
    known = BlobTable(transaction).List();
    return absl::OkStatus();
  }));
  std::vector<BlobName> absent;
  for (const BlobName& name : known) {
    ASSIGN_OR_RETURN(const bool present, store_.Contains(name));
    if (!present) {
      absent.push_back(name);
    }
  }
  std::vector<MissingBlob> missing;
  RETURN_IF_ERROR(database_.Transact([&](Transaction& transaction) {
    BlobTable table(transaction);
    for (const BlobName& name : absent) {
      // One that was purged meanwhile is not missing.
      if (table.Contains(name) && missing.size() < limit) {
        missing.push_back({.name = name, .owners = table.OwnersOf(name)});
      }
    }
    return absl::OkStatus();
  }));
  return missing;
}

StatusOr<CollectionReport> BlobCatalog::Collect() {
  CollectionReport report;
  std::vector<UploadRow> expired;
  std::vector<BlobName> unreferenced;
  RETURN_IF_ERROR(database_.Transact([&](Transaction& transaction) {
    UploadStore uploads(transaction);
    expired = uploads.ListExpired(static_cast<int64_t>(clock_.NowSeconds()));
    for (const UploadRow& row : expired) {
      uploads.Remove(row.contribution, row.blob);
    }
    unreferenced = BlobTable(transaction).ListUnreferenced();
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(const std::vector<BlobName> deleted,
                   DeleteUnreferenced(unreferenced));
  report.deleted_blobs = static_cast<int64_t>(deleted.size());
  for (const BlobName& name : deleted) {
    report.deleted_bytes += static_cast<int64_t>(name.size);
  }

  const std::unique_lock<std::shared_mutex> lock(mutex_);
  std::vector<BlobName> known;
  std::vector<std::string> known_uploads;
  RETURN_IF_ERROR(database_.Transact([&](Transaction& transaction) {
    known = BlobTable(transaction).List();
    known_uploads = UploadStore(transaction).ListIds();
    return absl::OkStatus();
  }));
  const std::set<BlobName> keep(known.begin(), known.end());
  ASSIGN_OR_RETURN(const std::vector<BlobName> stored, store_.List());
  for (const BlobName& name : stored) {
    if (!keep.contains(name)) {
      RETURN_IF_ERROR(store_.Delete(name));
      ++report.deleted_blobs;
      report.deleted_bytes += static_cast<int64_t>(name.size);
    }
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> partials,
                   store_.ListWrites());
  for (const std::string& id : partials) {
    if (!std::binary_search(known_uploads.begin(), known_uploads.end(), id)) {
      RETURN_IF_ERROR(store_.DiscardWrite(id));
      ++report.deleted_uploads;
    }
  }
  return report;
}

}  // namespace tributary::coordinator
