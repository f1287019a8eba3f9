#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/blob/blob_store.h"

namespace tributary::coordinator {

// Blobs as read-only files <blobs>/sha256/<first two digits>/<digest>, partial
// uploads as <uploads>/<upload id>. Both folders lie in one file system.
//
// A blob appears in this order: bytes written to the upload, fsync, digest
// compared, rename to its name, fsync of the folder. So a name that exists
// holds the right bytes, after any crash.
class DirectoryBlobStore final : public BlobStore {
 public:
  struct Options {
    std::filesystem::path blobs;
    std::filesystem::path uploads;
    // Free bytes of the file system; replaced in tests.
    std::function<StatusOr<uint64_t>()> free_bytes;
  };

  // Creates the folders. FAILED_PRECONDITION when they lie in different file
  // systems.
  static StatusOr<std::unique_ptr<DirectoryBlobStore>> Create(Options options);

  StatusOr<bool> Contains(const BlobName& name) override;
  StatusOr<std::unique_ptr<BlobReader>> OpenReader(
      const BlobName& name) override;
  StatusOr<std::unique_ptr<BlobWriter>> BeginWrite(
      const BlobName& name, const std::string& upload_id,
      const WritePosition& position) override;
  Status DiscardWrite(const std::string& upload_id) override;
  StatusOr<std::vector<std::string>> ListWrites() override;
  StatusOr<BlobName> Import(const std::filesystem::path& file) override;
  Status Materialise(const BlobName& name,
                     const std::filesystem::path& target) override;
  Status Delete(const BlobName& name) override;
  StatusOr<std::vector<BlobName>> List() override;
  StatusOr<uint64_t> FreeBytes() override;

  // Where a blob lies.
  std::filesystem::path PathOf(const BlobName& name) const;

 private:
  explicit DirectoryBlobStore(Options options) : options_(std::move(options)) {}

  const Options options_;
};

}  // namespace tributary::coordinator
