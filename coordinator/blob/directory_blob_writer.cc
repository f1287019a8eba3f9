#include "coordinator/blob/directory_blob_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace tributary::coordinator {
namespace fs = std::filesystem;

Status PublishBlobFile(const fs::path& file, const fs::path& target) {
  if (chmod(file.c_str(), 0444) != 0) {
    return ErrnoStatus(errno, "chmod " + file.string());
  }
  const fs::path folder = target.parent_path();
  std::error_code error;
  if (!fs::exists(folder, error)) {
    RETURN_IF_ERROR(MakeDirectories(folder));
    RETURN_IF_ERROR(SyncDirectory(folder.parent_path()));
  }
  if (fs::exists(target, error)) {
    if (unlink(file.c_str()) != 0) {
      return ErrnoStatus(errno, "unlink " + file.string());
    }
    return SyncDirectory(file.parent_path());
  }
  if (rename(file.c_str(), target.c_str()) != 0) {
    return ErrnoStatus(errno, "rename to " + target.string());
  }
  RETURN_IF_ERROR(SyncDirectory(folder));
  return SyncDirectory(file.parent_path());
}

StatusOr<std::unique_ptr<DirectoryBlobWriter>> DirectoryBlobWriter::Open(
    const BlobName& name, const fs::path& partial, const fs::path& target,
    uint64_t committed_size) {
  const int create = committed_size == 0 ? O_CREAT | O_TRUNC : 0;
  StatusOr<FileDescriptor> file = OpenFile(partial, O_RDWR | create, 0600);
  if (absl::IsNotFound(file.status()) && committed_size > 0) {
    return DataLoss("upload of {}: {} bytes were recorded, the partial is gone",
                    name.ToString(), committed_size);
  }
  RETURN_IF_ERROR(file.status());
  if (committed_size == 0) {
    RETURN_IF_ERROR(SyncDirectory(partial.parent_path()));
    return std::unique_ptr<DirectoryBlobWriter>(new DirectoryBlobWriter(
        name, partial, target, *std::move(file), crypto::Sha256()));
  }
  struct stat info = {};
  if (fstat(file->get(), &info) != 0) {
    return ErrnoStatus(errno, "stat " + partial.string());
  }
  if (static_cast<uint64_t>(info.st_size) < committed_size) {
    return DataLoss("upload of {}: {} bytes were recorded, {} are there",
                    name.ToString(), committed_size, info.st_size);
  }
  if (ftruncate(file->get(), static_cast<off_t>(committed_size)) != 0) {
    return ErrnoStatus(errno, "truncate " + partial.string());
  }
  ASSIGN_OR_RETURN(crypto::Sha256 hash,
                   crypto::DigestFilePrefix(partial, committed_size));
  return std::unique_ptr<DirectoryBlobWriter>(new DirectoryBlobWriter(
      name, partial, target, *std::move(file), std::move(hash)));
}

Status DirectoryBlobWriter::Append(std::string_view bytes) {
  if (bytes.size() > name_.size - offset()) {
    return OutOfRange("{}: got {} bytes at offset {}, the name allows {}",
                      name_.ToString(), bytes.size(), offset(), name_.size);
  }
  RETURN_IF_ERROR(Annotate(WriteAll(file_, bytes, offset()),
                           "upload of " + name_.ToString()));
  hash_.Update(bytes);
  return absl::OkStatus();
}

StatusOr<uint64_t> DirectoryBlobWriter::Sync() {
  if (fsync(file_.get()) != 0) {
    return ErrnoStatus(errno, "fsync " + partial_.string());
  }
  return offset();
}

Status DirectoryBlobWriter::Commit() {
  if (offset() != name_.size) {
    return FailedPrecondition("{}: {} of {} bytes are there", name_.ToString(),
                              offset(), name_.size);
  }
  if (const std::string got = hash_.Hex(); got != name_.sha256) {
    unlink(partial_.c_str());
    return InvalidArgument(
        "{}: the bytes have SHA-256 {}; the partial upload was deleted, send "
        "the file that the manifest describes",
        name_.ToString(), got);
  }
  ASSIGN_OR_RETURN([[maybe_unused]] const uint64_t durable, Sync());
  return PublishBlobFile(partial_, target_);
}

}  // namespace tributary::coordinator
