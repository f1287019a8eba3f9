#pragma once

// Blobs by their digest. A blob is either complete, verified and read-only
// under its name, or a partial file that a later download continues.
//
//   blobs/sha256/{ab}/{hex}     complete
//   partial/{hex}-{size}        the first bytes of a download

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "common/base/files.h"
#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/manifest/blob_name.h"

namespace tributary::contributor {

class BlobCache {
 public:
  // Makes the folders below `root` if they are not there.
  static StatusOr<std::unique_ptr<BlobCache>> Create(
      const std::filesystem::path& root);

  // Where a complete blob lies. NOT_FOUND when it is not complete.
  StatusOr<std::filesystem::path> Find(const manifest::BlobName& blob) const;

  // Hashes a complete blob again. NOT_FOUND when it is not there; DATA_LOSS
  // when its bytes have changed: it is deleted, so that it is fetched again.
  StatusOr<std::filesystem::path> Verify(const manifest::BlobName& blob);

  // Bytes that a download of this blob already has.
  uint64_t PartialSize(const manifest::BlobName& blob) const;

  // Takes a file in, as a hard link where possible. INVALID_ARGUMENT when its
  // bytes are not the blob's.
  Status Adopt(const manifest::BlobName& blob,
               const std::filesystem::path& file);

  // A download in progress; one at a time for each blob.
  class Download {
   public:
    Download(Download&&) noexcept = default;

    // Where the next bytes go: what to ask the server for.
    uint64_t offset() const { return offset_; }
    // INVALID_ARGUMENT when more bytes come than the blob has;
    // RESOURCE_EXHAUSTED when the disk is full: what was written stays.
    Status Append(std::string_view bytes);
    // Makes what was written durable, so that a later process continues.
    Status Sync();
    // Verifies the digest and publishes the blob. DATA_LOSS when the bytes are
    // others: the partial file is deleted. FAILED_PRECONDITION before the end.
    StatusOr<std::filesystem::path> Finish();

   private:
    friend class BlobCache;
    Download(manifest::BlobName blob, std::filesystem::path partial,
             std::filesystem::path final_path, FileDescriptor file,
             crypto::Sha256 hash);
    manifest::BlobName blob_;
    std::filesystem::path partial_;
    std::filesystem::path final_;
    FileDescriptor file_;
    crypto::Sha256 hash_;
    uint64_t offset_ = 0;
  };

  // Continues the partial file of `blob`, or begins one.
  StatusOr<Download> Open(const manifest::BlobName& blob);

 private:
  explicit BlobCache(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path PathOf(const manifest::BlobName& blob) const;
  std::filesystem::path PartialOf(const manifest::BlobName& blob) const;

  const std::filesystem::path root_;
};

}  // namespace tributary::contributor
