#include "coordinator/admission/stored_bytes.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/crypto/digest.h"
#include "common/manifest/resource_name.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kReadBytes = 1 << 20;

}  // namespace

Status CheckStoredBytes(const Core& core, const BlobName& name) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader,
                   core.catalog.store().OpenReader(name));
  crypto::Sha256 hash;
  std::string buffer(kReadBytes, '\0');
  while (hash.size() < name.size) {
    ASSIGN_OR_RETURN(const size_t got,
                     reader->Read(hash.size(), std::span<char>(buffer)));
    if (got == 0) {
      break;
    }
    hash.Update(std::string_view(buffer.data(), got));
  }
  if (const std::string digest = hash.Hex(); digest != name.sha256) {
    return DataLoss("{}: the stored bytes have SHA-256 {}", name.ToString(),
                    digest);
  }
  return absl::OkStatus();
}

Status DropDamagedBytes(const Core& core, const ContributionRow& contribution,
                        const BlobName& blob) {
  const std::string owner = manifest::ResourceName(
      manifest::Collection::kContributions, contribution.id);
  RETURN_IF_ERROR(
      core.database.Transact([&](Transaction& transaction) -> Status {
        BlobTable table(transaction);
        for (const std::string& other : table.OwnersOf(blob)) {
          if (other != owner) {
            return FailedPrecondition(
                "{} is damaged and {} needs it, too: restore it from a backup",
                blob.ToString(), other);
          }
        }
        table.RemoveReference(blob, owner);
        UploadStore(transaction).Remove(contribution.id, blob.ToString());
        return absl::OkStatus();
      }));
  return core.catalog.DeleteUnreferenced({blob}).status();
}

}  // namespace tributary::coordinator
