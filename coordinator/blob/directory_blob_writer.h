#pragma once

#include <filesystem>
#include <memory>

#include "common/base/files.h"
#include "common/crypto/resumable_sha256.h"
#include "coordinator/blob/blob_store.h"

namespace tributary::coordinator {

// The writer of DirectoryBlobStore.
class DirectoryBlobWriter final : public BlobWriter {
 public:
  // Opens or creates `partial`, cuts it to `position` and goes on hashing from
  // there. `target` is where the blob goes.
  static StatusOr<std::unique_ptr<DirectoryBlobWriter>> Open(
      const BlobName& name, const std::filesystem::path& partial,
      const std::filesystem::path& target, const WritePosition& position);

  uint64_t offset() const override { return hash_.size(); }
  using BlobWriter::Append;
  Status Append(std::span<const std::string_view> pieces) override;
  StatusOr<uint64_t> Sync() override;
  std::string HashState() const override { return hash_.Save(); }
  Status Commit() override;

 private:
  DirectoryBlobWriter(BlobName name, std::filesystem::path partial,
                      std::filesystem::path target, FileDescriptor file,
                      crypto::ResumableSha256 hash)
      : name_(std::move(name)),
        partial_(std::move(partial)),
        target_(std::move(target)),
        file_(std::move(file)),
        hash_(std::move(hash)) {}

  const BlobName name_;
  const std::filesystem::path partial_;
  const std::filesystem::path target_;
  FileDescriptor file_;
  uint64_t flushing_ = 0;  // bytes that the disk was told to begin with
  crypto::ResumableSha256 hash_;
};

// Makes a complete and durable `file` visible as `target`, read-only: creates
// the folder, renames, fsyncs folders. A target that is there already wins.
Status PublishBlobFile(const std::filesystem::path& file,
                       const std::filesystem::path& target);

}  // namespace tributary::coordinator
