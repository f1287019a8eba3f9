#include "coordinator/blob/directory_blob_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kFlushBytes = 8 << 20;
constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kMostVectors = 256;

// Writes all pieces from `offset` on, many at a time.
Status WritePieces(const FileDescriptor& file,
                   std::span<const std::string_view> pieces, uint64_t offset) {
  size_t skip = 0;  // bytes of the first piece that are written
  while (!pieces.empty()) {
    std::array<iovec, kMostVectors> vectors;
    const size_t count = std::min(pieces.size(), vectors.size());
    for (size_t i = 0; i < count; ++i) {
      const size_t from = i == 0 ? skip : 0;
      vectors[i] = {const_cast<char*>(pieces[i].data()) + from,
                    pieces[i].size() - from};
    }
    const ssize_t got =
        pwritev(file.get(), vectors.data(), static_cast<int>(count),
                static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      return ErrnoStatus(errno, "write");
    }
    offset += static_cast<uint64_t>(got);
    size_t rest = static_cast<size_t>(got) + skip;
    while (!pieces.empty() && rest >= pieces.front().size()) {
      rest -= pieces.front().size();
      pieces = pieces.subspan(1);
    }
    skip = rest;
  }
  return absl::OkStatus();
}

// The state at `position`: the saved one, or of the bytes read again.
StatusOr<crypto::ResumableSha256> HashOf(const FileDescriptor& file,
                                         const WritePosition& position) {
  StatusOr<crypto::ResumableSha256> saved =
      crypto::ResumableSha256::Restore(position.hash_state);
  if (saved.ok() && saved->size() == position.size) {
    return saved;
  }
  crypto::ResumableSha256 hash;
  std::vector<char> buffer(kReadBytes);
  while (hash.size() < position.size) {
    const size_t wanted =
        std::min<uint64_t>(buffer.size(), position.size - hash.size());
    const ssize_t got = pread(file.get(), buffer.data(), wanted,
                              static_cast<off_t>(hash.size()));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return got < 0 ? ErrnoStatus(errno, "read a partial upload")
                     : DataLoss("a partial upload became shorter");
    }
    hash.Update(std::string_view(buffer.data(), static_cast<size_t>(got)));
  }
  return hash;
}

}  // namespace

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
    const WritePosition& position) {
  const uint64_t committed_size = position.size;
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
        name, partial, target, *std::move(file), crypto::ResumableSha256()));
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
  ASSIGN_OR_RETURN(crypto::ResumableSha256 hash, HashOf(*file, position));
  return std::unique_ptr<DirectoryBlobWriter>(new DirectoryBlobWriter(
      name, partial, target, *std::move(file), std::move(hash)));
}

Status DirectoryBlobWriter::Append(std::span<const std::string_view> pieces) {
  uint64_t size = 0;
  for (const std::string_view piece : pieces) {
    size += piece.size();
  }
  if (size > name_.size - offset()) {
    return OutOfRange("{}: got {} bytes at offset {}, the name allows {}",
                      name_.ToString(), size, offset(), name_.size);
  }
  RETURN_IF_ERROR(Annotate(WritePieces(file_, pieces, offset()),
                           "upload of " + name_.ToString()));
  for (const std::string_view piece : pieces) {
    hash_.Update(piece);
  }
  if (offset() - flushing_ >= kFlushBytes) {
    // Lets the disk begin, so that the next Sync has little left to wait for.
    sync_file_range(file_.get(), static_cast<off_t>(flushing_),
                    static_cast<off_t>(offset() - flushing_),
                    SYNC_FILE_RANGE_WRITE);
    flushing_ = offset();
  }
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
