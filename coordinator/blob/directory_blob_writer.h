#pragma once

#include <filesystem>
#include <memory>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "coordinator/blob/blob_store.h"

namespace tributary::coordinator {

// The writer of DirectoryBlobStore.
class DirectoryBlobWriter final : public BlobWriter {
 public:
  // Opens or creates `partial`, cuts it to `committed_size` and hashes what is
  // left. `target` is where the blob goes.
  static StatusOr<std::unique_ptr<DirectoryBlobWriter>> Open(
      const BlobName& name, const std::filesystem::path& partial,
      const std::filesystem::path& target, uint64_t committed_size);

  uint64_t offset() const override { return hash_.size(); }
  Status Append(std::string_view bytes) override;
  StatusOr<uint64_t> Sync() override;
  Status Commit() override;

 private:
  DirectoryBlobWriter(BlobName name, std::filesystem::path partial,
                      std::filesystem::path target, FileDescriptor file,
                      crypto::Sha256 hash)
      : name_(std::move(name)),
        partial_(std::move(partial)),
        target_(std::move(target)),
        file_(std::move(file)),
        hash_(std::move(hash)) {}

  const BlobName name_;
  const std::filesystem::path partial_;
  const std::filesystem::path target_;
  FileDescriptor file_;
  crypto::Sha256 hash_;
};

// Makes a complete and durable `file` visible as `target`, read-only: creates
// the folder, renames, fsyncs folders. A target that is there already wins.
Status PublishBlobFile(const std::filesystem::path& file,
                       const std::filesystem::path& target);

}  // namespace tributary::coordinator
