#include "coordinator/blob/directory_blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/crypto/digest.h"
#include "coordinator/blob/directory_blob_writer.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr char kAlgorithm[] = "sha256";
constexpr char kImportPrefix[] = "import-";
constexpr size_t kCopyBytes = 1 << 20;

class FileBlobReader final : public BlobReader {
 public:
  FileBlobReader(FileDescriptor file, uint64_t size)
      : file_(std::move(file)), size_(size) {}

  uint64_t size() const override { return size_; }

  StatusOr<size_t> Read(uint64_t offset, std::span<char> out) override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t got =
          pread(file_.get(), out.data() + done, out.size() - done,
                static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got < 0) {
        return ErrnoStatus(errno, "read a blob");
      }
      if (got == 0) {
        break;
      }
      done += static_cast<size_t>(got);
    }
    return done;
  }

 private:
  const FileDescriptor file_;
  const uint64_t size_;
};

StatusOr<uint64_t> FreeBytesOf(const fs::path& folder) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) {
    return ErrnoStatus(error.value(), "free space of " + folder.string());
  }
  return space.available;
}

Status CheckUploadId(const std::string& id) {
  const bool valid = !id.empty() && id.size() <= 200 &&
                     std::all_of(id.begin(), id.end(), [](char c) {
                       return (c >= 'a' && c <= 'z') ||
                              (c >= '0' && c <= '9') || c == '-' || c == '_';
                     });
  return valid ? absl::OkStatus()
               : Internal("upload id '{}' is not a plain name", id);
}

// Copies and hashes `source` into the new file `target`, durably.
StatusOr<BlobName> CopyFile(const fs::path& source, const fs::path& target) {
  ASSIGN_OR_RETURN(const FileDescriptor in, OpenFile(source, O_RDONLY));
  ASSIGN_OR_RETURN(const FileDescriptor out,
                   OpenFile(target, O_WRONLY | O_CREAT | O_EXCL, 0600));
  crypto::Sha256 hash;
  std::string buffer(kCopyBytes, '\0');
  while (true) {
    const ssize_t got = read(in.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return ErrnoStatus(errno, "read " + source.string());
    }
    if (got == 0) {
      break;
    }
    const std::string_view bytes(buffer.data(), static_cast<size_t>(got));
    RETURN_IF_ERROR(
        Annotate(WriteAll(out, bytes, hash.size()), target.string()));
    hash.Update(bytes);
  }
  if (fsync(out.get()) != 0) {
    return ErrnoStatus(errno, "fsync " + target.string());
  }
  return BlobName{hash.Hex(), hash.size()};
}

}  // namespace

StatusOr<std::unique_ptr<DirectoryBlobStore>> DirectoryBlobStore::Create(
    Options options) {
  RETURN_IF_ERROR(MakeDirectories(options.blobs / kAlgorithm));
  RETURN_IF_ERROR(MakeDirectories(options.uploads));
  struct stat blobs = {};
  struct stat uploads = {};
  if (stat(options.blobs.c_str(), &blobs) != 0 ||
      stat(options.uploads.c_str(), &uploads) != 0) {
    return ErrnoStatus(errno, "stat " + options.blobs.string());
  }
  if (blobs.st_dev != uploads.st_dev) {
    return FailedPrecondition(
        "{} and {} lie in different file systems; uploads must be renamed "
        "into the blob store, so put both into one",
        options.blobs.string(), options.uploads.string());
  }
  if (!options.free_bytes) {
    options.free_bytes = [folder = options.blobs] {
      return FreeBytesOf(folder);
    };
  }
  return std::unique_ptr<DirectoryBlobStore>(
      new DirectoryBlobStore(std::move(options)));
}

fs::path DirectoryBlobStore::PathOf(const BlobName& name) const {
  return options_.blobs / kAlgorithm / name.sha256.substr(0, 2) / name.sha256;
}

StatusOr<bool> DirectoryBlobStore::Contains(const BlobName& name) {
  const StatusOr<uint64_t> size = FileSize(PathOf(name));
  if (absl::IsNotFound(size.status())) {
    return false;
  }
  RETURN_IF_ERROR(size.status());
  return *size == name.size;
}

StatusOr<std::unique_ptr<BlobReader>> DirectoryBlobStore::OpenReader(
    const BlobName& name) {
  StatusOr<FileDescriptor> file = OpenFile(PathOf(name), O_RDONLY);
  if (absl::IsNotFound(file.status())) {
    return NotFound("{}: no such blob", name.ToString());
  }
  RETURN_IF_ERROR(file.status());
  struct stat info = {};
  if (fstat(file->get(), &info) != 0) {
    return ErrnoStatus(errno, "stat " + name.ToString());
  }
  if (static_cast<uint64_t>(info.st_size) != name.size) {
    return DataLoss("{}: the stored file has {} bytes", name.ToString(),
                    info.st_size);
  }
  return std::unique_ptr<BlobReader>(
      std::make_unique<FileBlobReader>(*std::move(file), name.size));
}

StatusOr<std::unique_ptr<BlobWriter>> DirectoryBlobStore::BeginWrite(
    const BlobName& name, const std::string& upload_id,
    const WritePosition& position) {
  RETURN_IF_ERROR(CheckUploadId(upload_id));
  ASSIGN_OR_RETURN(std::unique_ptr<BlobWriter> writer,
                   DirectoryBlobWriter::Open(name, options_.uploads / upload_id,
                                             PathOf(name), position));
  return writer;
}

Status DirectoryBlobStore::DiscardWrite(const std::string& upload_id) {
  RETURN_IF_ERROR(CheckUploadId(upload_id));
  const fs::path partial = options_.uploads / upload_id;
  if (unlink(partial.c_str()) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoStatus(errno, "unlink " + partial.string());
  }
  return SyncDirectory(options_.uploads);
}

StatusOr<std::vector<std::string>> DirectoryBlobStore::ListWrites() {
  std::vector<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator entry(options_.uploads, error), end;
       !error && entry != end; entry.increment(error)) {
    // Other files are none of ours.
    if (std::string id = entry->path().filename().string();
        CheckUploadId(id).ok()) {
      ids.push_back(std::move(id));
    }
  }
  if (error) {
    return ErrnoStatus(error.value(), "list " + options_.uploads.string());
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

StatusOr<BlobName> DirectoryBlobStore::Import(const fs::path& file) {
  const fs::path partial =
      options_.uploads / (kImportPrefix + ToHex(RandomBytes(8)));
  StatusOr<BlobName> name = CopyFile(file, partial);
  if (!name.ok()) {
    unlink(partial.c_str());
    return name.status();
  }
  RETURN_IF_ERROR(PublishBlobFile(partial, PathOf(*name)));
  return name;
}

Status DirectoryBlobStore::Materialise(const BlobName& name,
                                       const fs::path& target) {
  RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
  if (unlink(target.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "unlink " + target.string());
  }
  const fs::path source = PathOf(name);
  if (link(source.c_str(), target.c_str()) == 0) {
    return absl::OkStatus();
  }
  if (errno == ENOENT) {
    return NotFound("{}: no such blob", name.ToString());
  }
  if (errno != EXDEV && errno != EMLINK && errno != EPERM) {
    return ErrnoStatus(errno, "link " + target.string());
  }
  ASSIGN_OR_RETURN(const BlobName copied, CopyFile(source, target));
  if (copied != name) {
    return DataLoss("{}: the stored bytes are {}", name.ToString(),
                    copied.ToString());
  }
  return chmod(target.c_str(), 0444) == 0
             ? absl::OkStatus()
             : ErrnoStatus(errno, "chmod " + target.string());
}

Status DirectoryBlobStore::Delete(const BlobName& name) {
  const fs::path path = PathOf(name);
  if (unlink(path.c_str()) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoStatus(errno, "unlink " + path.string());
  }
  return SyncDirectory(path.parent_path());
}

StatusOr<std::vector<BlobName>> DirectoryBlobStore::List() {
  std::vector<BlobName> names;
  std::error_code error;
  for (fs::recursive_directory_iterator
           entry(options_.blobs / kAlgorithm, error),
       end;
       !error && entry != end; entry.increment(error)) {
    const std::string digest = entry->path().filename().string();
    if (entry->is_regular_file(error) && crypto::IsSha256Hex(digest)) {
      names.push_back({digest, entry->file_size(error)});
    }
  }
  if (error) {
    return ErrnoStatus(error.value(), "list " + options_.blobs.string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

StatusOr<uint64_t> DirectoryBlobStore::FreeBytes() {
  return options_.free_bytes();
}

}  // namespace tributary::coordinator
