#pragma once

// Files as every process of ours uses them: whole reads, and writes that are
// either complete and durable or not there.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary {

// The status that stands for `error_number` (errno): NOT_FOUND for ENOENT,
// PERMISSION_DENIED for EACCES and EPERM, RESOURCE_EXHAUSTED for ENOSPC,
// EDQUOT and EMFILE, INTERNAL otherwise. The message names `what`.
Status ErrnoStatus(int error_number, const std::string& what);

// The bytes of a file of at most `max_bytes`. NOT_FOUND when it is not there,
// INVALID_ARGUMENT when it is larger.
StatusOr<std::string> ReadFile(const std::filesystem::path& path,
                               uint64_t max_bytes = 1ull << 30);

// Writes a temporary file beside `path`, fsyncs it, renames it over `path` and
// fsyncs the folder: after a crash the old or the new content is there.
Status WriteFileAtomic(const std::filesystem::path& path,
                       std::string_view content, unsigned mode = 0644);

// Creates the folder and its parents.
Status MakeDirectories(const std::filesystem::path& path);

// fsyncs a folder, so that renames and unlinks in it are durable.
Status SyncDirectory(const std::filesystem::path& path);

// The size of a regular file. NOT_FOUND when there is none.
StatusOr<uint64_t> FileSize(const std::filesystem::path& path);

// Owns a POSIX file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.Release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release();

 private:
  int fd_ = -1;
};

// Opens a file; `flags` and `mode` as in open(2), O_CLOEXEC is added.
StatusOr<FileDescriptor> OpenFile(const std::filesystem::path& path, int flags,
                                  unsigned mode = 0644);

// Writes all of `bytes` at `offset`. RESOURCE_EXHAUSTED on a full disk.
Status WriteAll(const FileDescriptor& file, std::string_view bytes,
                uint64_t offset);

// A new folder below the system's temporary folder, removed with the object.
class TemporaryDirectory {
 public:
  static StatusOr<TemporaryDirectory> Create(std::string_view prefix);
  TemporaryDirectory(TemporaryDirectory&& other) noexcept;
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::filesystem::path path);
  std::filesystem::path path_;
};

// Holds an exclusive flock(2) on a file while it lives.
class FileLock {
 public:
  // FAILED_PRECONDITION when another process holds it.
  static StatusOr<FileLock> TryAcquire(const std::filesystem::path& path);
  // Waits until it is free.
  static StatusOr<FileLock> Acquire(const std::filesystem::path& path);

 private:
  explicit FileLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

}  // namespace tributary
