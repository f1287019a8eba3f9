#include "common/base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "common/base/random.h"
#include "common/base/text.h"

namespace tributary {
namespace fs = std::filesystem;

Status ErrnoStatus(int error_number, const std::string& what) {
  const std::string message = what + ": " + std::strerror(error_number);
  switch (error_number) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) {
      close(fd_);
    }
    fd_ = other.Release();
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

int FileDescriptor::Release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

StatusOr<FileDescriptor> OpenFile(const fs::path& path, int flags,
                                  unsigned mode) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) {
    return ErrnoStatus(errno, "open " + path.string());
  }
  return FileDescriptor(fd);
}

StatusOr<std::string> ReadFile(const fs::path& path, uint64_t max_bytes) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDONLY));
  struct stat info = {};
  if (fstat(file.get(), &info) != 0) {
    return ErrnoStatus(errno, "stat " + path.string());
  }
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument("{}: not a regular file", path.string());
  }
  if (static_cast<uint64_t>(info.st_size) > max_bytes) {
    return InvalidArgument("{}: got {} bytes, wanted at most {}", path.string(),
                           info.st_size, max_bytes);
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got =
        read(file.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return ErrnoStatus(errno, "read " + path.string());
    }
    if (got == 0) {
      return DataLoss("{}: ended after {} of {} bytes while being read",
                      path.string(), done, content.size());
    }
    done += static_cast<size_t>(got);
  }
  return content;
}

Status WriteAll(const FileDescriptor& file, std::string_view bytes,
                uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file.get(), bytes.data(), bytes.size(),
                                   static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return ErrnoStatus(errno, "write");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

Status WriteFileAtomic(const fs::path& path, std::string_view content,
                       unsigned mode) {
  const fs::path temporary = path.string() + ".tmp-" + ToHex(RandomBytes(6));
  const auto fail = [&](const Status& status) {
    unlink(temporary.c_str());
    return Annotate(status, path.string());
  };
  {
    ASSIGN_OR_RETURN(const FileDescriptor file,
                     OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    if (Status status = WriteAll(file, content, 0); !status.ok()) {
      return fail(status);
    }
    if (fsync(file.get()) != 0) {
      return fail(ErrnoStatus(errno, "fsync"));
    }
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return fail(ErrnoStatus(errno, "rename"));
  }
  return SyncDirectory(path.has_parent_path() ? path.parent_path() : ".");
}

Status MakeDirectories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return ErrnoStatus(error.value(), "create folder " + path.string());
  }
  return absl::OkStatus();
}

Status SyncDirectory(const fs::path& path) {
  ASSIGN_OR_RETURN(const FileDescriptor folder,
                   OpenFile(path, O_RDONLY | O_DIRECTORY));
  if (fsync(folder.get()) != 0) {
    return ErrnoStatus(errno, "fsync folder " + path.string());
  }
  return absl::OkStatus();
}

StatusOr<uint64_t> FileSize(const fs::path& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) {
    return ErrnoStatus(errno, "stat " + path.string());
  }
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument("{}: not a regular file", path.string());
  }
  return static_cast<uint64_t>(info.st_size);
}

TemporaryDirectory::TemporaryDirectory(fs::path path)
    : path_(std::move(path)) {}

TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& other) noexcept
    : path_(std::move(other.path_)) {
  other.path_.clear();
}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path_.empty()) {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
}

StatusOr<TemporaryDirectory> TemporaryDirectory::Create(
    std::string_view prefix) {
  std::error_code error;
  std::string name =
      fs::temp_directory_path(error) / (std::string(prefix) + "-XXXXXX");
  if (error || mkdtemp(name.data()) == nullptr) {
    return ErrnoStatus(error ? error.value() : errno,
                       "create temporary folder " + name);
  }
  return TemporaryDirectory(fs::path(name));
}

namespace {

StatusOr<FileDescriptor> Lock(const fs::path& path, int operation) {
  ASSIGN_OR_RETURN(FileDescriptor file, OpenFile(path, O_RDWR | O_CREAT, 0600));
  while (flock(file.get(), operation) != 0) {
    if (errno == EINTR) {
      continue;
    }
    if (errno == EWOULDBLOCK) {
      return FailedPrecondition(
          "{} is locked by another process: only one may use this folder at a "
          "time; stop the other one first",
          path.string());
    }
    return ErrnoStatus(errno, "lock " + path.string());
  }
  return file;
}

}  // namespace

StatusOr<FileLock> FileLock::TryAcquire(const fs::path& path) {
  ASSIGN_OR_RETURN(FileDescriptor file, Lock(path, LOCK_EX | LOCK_NB));
  return FileLock(std::move(file));
}

StatusOr<FileLock> FileLock::Acquire(const fs::path& path) {
  ASSIGN_OR_RETURN(FileDescriptor file, Lock(path, LOCK_EX));
  return FileLock(std::move(file));
}

}  // namespace tributary
