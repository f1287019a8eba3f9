#include "contributor/cache/blob_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/base/random.h"
#include "common/base/text.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

// Renames a finished file to its name, durably. Another process of this home
// that fetched the same bytes may have done so already.
Status Publish(const fs::path& file, const fs::path& final_path) {
  RETURN_IF_ERROR(MakeDirectories(final_path.parent_path()));
  std::error_code error;
  if (chmod(file.c_str(), 0444) != 0 ||
      rename(file.c_str(), final_path.c_str()) != 0) {
    const int code = errno;
    if (code != ENOENT || !fs::exists(final_path, error)) {
      return ErrnoStatus(code, "rename " + file.string() + " to " +
                                   final_path.string());
    }
  }
  return SyncDirectory(final_path.parent_path());
}

Status FullDisk(const Status& status, const fs::path& path) {
  return Annotate(status, path.string() +
                              ": free some disk space and run it again; what "
                              "was downloaded is kept");
}

}  // namespace

StatusOr<std::unique_ptr<BlobCache>> BlobCache::Create(const fs::path& root) {
  RETURN_IF_ERROR(MakeDirectories(root / "blobs" / "sha256"));
  RETURN_IF_ERROR(MakeDirectories(root / "partial"));
  return std::unique_ptr<BlobCache>(new BlobCache(root));
}

fs::path BlobCache::PathOf(const manifest::BlobName& blob) const {
  return root_ / "blobs" / "sha256" / blob.sha256.substr(0, 2) / blob.sha256;
}

fs::path BlobCache::PartialOf(const manifest::BlobName& blob) const {
  return root_ / "partial" / fmt::format("{}-{}", blob.sha256, blob.size);
}

StatusOr<fs::path> BlobCache::Find(const manifest::BlobName& blob) const {
  const fs::path path = PathOf(blob);
  const StatusOr<uint64_t> size = FileSize(path);
  if (!size.ok() || *size != blob.size) {
    return NotFound("{} is not in the cache", blob.ToString());
  }
  return path;
}

StatusOr<fs::path> BlobCache::Verify(const manifest::BlobName& blob) {
  ASSIGN_OR_RETURN(fs::path path, Find(blob));
  ASSIGN_OR_RETURN(const crypto::FileDigest digest, crypto::DigestFile(path));
  if (digest.sha256 != blob.sha256) {
    unlink(path.c_str());
    return DataLoss(
        "{}: the cached file had digest {}; it was deleted, run it again to "
        "fetch it anew",
        blob.ToString(), digest.sha256);
  }
  return path;
}

uint64_t BlobCache::PartialSize(const manifest::BlobName& blob) const {
  const StatusOr<uint64_t> size = FileSize(PartialOf(blob));
  return size.ok() ? std::min(*size, blob.size) : 0;
}

Status BlobCache::Adopt(const manifest::BlobName& blob, const fs::path& file) {
  ASSIGN_OR_RETURN(const crypto::FileDigest digest, crypto::DigestFile(file));
  if (digest.sha256 != blob.sha256 || digest.size != blob.size) {
    return InvalidArgument("{}: got digest {} and {} bytes, wanted {}",
                           file.string(), digest.sha256, digest.size,
                           blob.ToString());
  }
  if (Find(blob).ok()) {
    return absl::OkStatus();
  }
  const fs::path temporary =
      root_ / "partial" / ("adopt-" + ToHex(RandomBytes(8)));
  std::error_code error;
  fs::create_hard_link(file, temporary, error);
  if (error) {
    fs::copy_file(file, temporary, error);
  }
  if (error) {
    return ErrnoStatus(error.value(), "copy " + file.string());
  }
  return Publish(temporary, PathOf(blob));
}

StatusOr<BlobCache::Download> BlobCache::Open(const manifest::BlobName& blob) {
  const fs::path partial = PartialOf(blob);
  ASSIGN_OR_RETURN(FileDescriptor file, OpenFile(partial, O_RDWR | O_CREAT));
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(partial));
  if (size > blob.size && ftruncate(file.get(), 0) != 0) {
    return ErrnoStatus(errno, "cut " + partial.string());
  }
  const uint64_t offset = size > blob.size ? 0 : size;
  ASSIGN_OR_RETURN(crypto::Sha256 hash,
                   crypto::DigestFilePrefix(partial, offset));
  Download download(blob, partial, PathOf(blob), std::move(file),
                    std::move(hash));
  download.offset_ = offset;
  return download;
}

BlobCache::Download::Download(manifest::BlobName blob, fs::path partial,
                              fs::path final_path, FileDescriptor file,
                              crypto::Sha256 hash)
    : blob_(std::move(blob)),
      partial_(std::move(partial)),
      final_(std::move(final_path)),
      file_(std::move(file)),
      hash_(std::move(hash)) {}

Status BlobCache::Download::Append(std::string_view bytes) {
  if (bytes.size() > blob_.size - offset_) {
    unlink(partial_.c_str());
    return InvalidArgument("{}: got more than {} bytes from the coordinator",
                           blob_.ToString(), blob_.size);
  }
  if (Status status = WriteAll(file_, bytes, offset_); !status.ok()) {
    return FullDisk(status, partial_);
  }
  hash_.Update(bytes);
  offset_ += bytes.size();
  return absl::OkStatus();
}

Status BlobCache::Download::Sync() {
  if (fsync(file_.get()) != 0) {
    return FullDisk(ErrnoStatus(errno, "fsync"), partial_);
  }
  return absl::OkStatus();
}

StatusOr<fs::path> BlobCache::Download::Finish() {
  if (offset_ < blob_.size) {
    return FailedPrecondition("{}: only {} bytes have arrived",
                              blob_.ToString(), offset_);
  }
  if (const std::string got = hash_.Hex(); got != blob_.sha256) {
    unlink(partial_.c_str());
    return DataLoss(
        "{}: the bytes that arrived have digest {}; they were deleted",
        blob_.ToString(), got);
  }
  RETURN_IF_ERROR(Sync());
  RETURN_IF_ERROR(Publish(partial_, final_));
  return final_;
}

}  // namespace tributary::contributor
