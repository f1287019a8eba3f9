#include "coordinator/commands/backup.h"

#include <memory>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/service/server_keys.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/database.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKeyNames[] = {"ca", "server", "signer", "operator"};

Status CopySmallFile(const fs::path& source, const fs::path& target,
                     unsigned mode) {
  ASSIGN_OR_RETURN(const std::string content, ReadFile(source));
  return WriteFileAtomic(target, content, mode);
}

// The names of the blobs that the copied database refers to.
StatusOr<std::vector<BlobName>> BlobsOf(const Home& copy) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(copy.database(), Database::Mode::kExisting));
  std::vector<BlobName> names;
  RETURN_IF_ERROR(database->Transact([&](Transaction& transaction) {
    names = BlobTable(transaction).List();
    return absl::OkStatus();
  }));
  return names;
}

}  // namespace

Status CopyKeys(const Home& home, const Home& copy) {
  RETURN_IF_ERROR(MakeDirectories(copy.keys()));
  std::error_code error;
  fs::permissions(copy.keys(), fs::perms::owner_all, error);
  for (const char* name : kKeyNames) {
    RETURN_IF_ERROR(CopySmallFile(home.key(name), copy.key(name), 0600));
    RETURN_IF_ERROR(
        CopySmallFile(home.certificate(name), copy.certificate(name), 0644));
  }
  // While the CA is replaced there is a second one.
  if (HasNextCa(home)) {
    RETURN_IF_ERROR(
        CopySmallFile(home.key(kNextCaName), copy.key(kNextCaName), 0600));
    RETURN_IF_ERROR(CopySmallFile(home.certificate(kNextCaName),
                                  copy.certificate(kNextCaName), 0644));
  }
  return CopySmallFile(home.config(), copy.config(), 0644);
}

StatusOr<BackupReport> BackUpHome(const Home& home, const fs::path& target) {
  const Home copy(target);
  std::error_code error;
  if (fs::exists(target, error)) {
    return AlreadyExists("{} is there already; name a new folder",
                         target.string());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(home.database(), Database::Mode::kReadOnly));
  RETURN_IF_ERROR(MakeDirectories(target));
  RETURN_IF_ERROR(database->BackUp(copy.database()));
  RETURN_IF_ERROR(CopyKeys(home, copy));
  ASSIGN_OR_RETURN(const auto from,
                   DirectoryBlobStore::Create(
                       {.blobs = home.blobs(), .uploads = home.uploads()}));
  ASSIGN_OR_RETURN(const auto to,
                   DirectoryBlobStore::Create(
                       {.blobs = copy.blobs(), .uploads = copy.uploads()}));
  ASSIGN_OR_RETURN(const std::vector<BlobName> names, BlobsOf(copy));
  BackupReport report;
  for (const BlobName& name : names) {
    const StatusOr<BlobName> stored = to->Import(from->PathOf(name));
    if (absl::IsNotFound(stored.status())) {
      ++report.gone;
      continue;
    }
    RETURN_IF_ERROR(stored.status());
    if (*stored != name) {
      return DataLoss(
          "{}: the stored bytes are {}; restore the blob from an "
          "older backup",
          name.ToString(), stored->ToString());
    }
    ++report.blobs;
    report.bytes += name.size;
  }
  return report;
}

}  // namespace tributary::coordinator
