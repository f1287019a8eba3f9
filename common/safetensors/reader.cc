#include "common/safetensors/reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/safetensors/float_convert.h"

namespace tributary::safetensors {
namespace {

// A short header is read: that costs less than the fault of a mapped page.
StatusOr<Header> ReadHeader(const FileDescriptor& file, const char* mapped,
                            uint64_t file_bytes, const HeaderLimits& limits) {
  std::array<char, 8192> start;
  const ssize_t got = pread(file.get(), start.data(), start.size(), 0);
  uint64_t length = 0;
  if (got >= static_cast<ssize_t>(sizeof(length))) {
    std::memcpy(&length, start.data(), sizeof(length));
    if (length <= static_cast<uint64_t>(got) - sizeof(length)) {
      return ParseHeader({start.data(), static_cast<size_t>(got)}, file_bytes,
                         limits);
    }
  }
  return ParseHeader({mapped, file_bytes}, file_bytes, limits);
}

// Maps pages of a file that are going to be read. Kernels before 5.14 do not
// know how: the pages are then mapped when they are touched.
void MapNow(std::span<const std::byte> bytes) {
#ifndef MADV_POPULATE_READ
  constexpr int MADV_POPULATE_READ = 22;
#endif
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size();
  (void)madvise(reinterpret_cast<void*>(begin), end - begin,  // NOLINT
                MADV_POPULATE_READ);
}

}  // namespace

StatusOr<std::shared_ptr<const File>> File::Open(
    const std::filesystem::path& path, const ReadOptions& options) {
  ASSIGN_OR_RETURN(FileDescriptor descriptor, OpenFile(path, O_RDONLY));
  struct stat info = {};
  if (fstat(descriptor.get(), &info) != 0) {
    return ErrnoStatus(errno, "stat " + path.string());
  }
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument("{}: not a regular file", path.string());
  }
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes == 0) {
    return FaultStatus(Fault::kTooShort, path.string() + ": is empty");
  }
  void* data =
      mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (data == MAP_FAILED) {
    return ErrnoStatus(errno, "map " + path.string());
  }
  const std::shared_ptr<File> file(new File(
      path, std::move(descriptor), bytes, static_cast<const std::byte*>(data)));
  auto header = ReadHeader(file->file_, static_cast<const char*>(data), bytes,
                           options.limits);
  if (!header.ok()) {
    return AnnotateFault(header.status(), path.string());
  }
  file->header_ = *std::move(header);
  return file;
}

File::~File() { munmap(const_cast<std::byte*>(data_), file_bytes_); }

Status File::Read(const TensorInfo& tensor, uint64_t offset,
                  std::span<std::byte> out) const {
  if (offset > tensor.bytes() || out.size() > tensor.bytes() - offset) {
    return OutOfRange("{}: got bytes {} to {} of {}, which has {}",
                      path_.string(), offset, offset + out.size(), tensor.name,
                      tensor.bytes());
  }
  uint64_t at = header_.data_begin + tensor.begin + offset;
  while (!out.empty()) {
    const ssize_t got =
        pread(file_.get(), out.data(), out.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return ErrnoStatus(errno, "read " + path_.string());
    }
    if (got == 0) {
      return DataLoss("{}: ended at {} of {} bytes while being read",
                      path_.string(), at, file_bytes_);
    }
    out = out.subspan(static_cast<size_t>(got));
    at += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

Status File::ToFloats(const TensorInfo& tensor, uint64_t first,
                      std::span<float> out) const {
  constexpr size_t kAtATime = size_t{2} << 20;
  const auto elements = static_cast<uint64_t>(tensor.elements());
  if (first > elements || out.size() > elements - first) {
    return OutOfRange("{}: got elements {} to {} of {}, which has {}",
                      path_.string(), first, first + out.size(), tensor.name,
                      elements);
  }
  const size_t size = DTypeSize(tensor.dtype);
  for (size_t done = 0; done < out.size();) {
    const size_t count = std::min(kAtATime, out.size() - done);
    const auto bytes =
        Bytes(tensor).subspan((first + done) * size, count * size);
    MapNow(bytes);
    RETURN_IF_ERROR(ToFloat32(tensor.dtype, bytes, out.subspan(done, count)));
    done += count;
  }
  return absl::OkStatus();
}

StatusOr<std::vector<float>> File::ReadFloats(std::string_view name) const {
  const TensorInfo* tensor = Find(name);
  if (tensor == nullptr) {
    return NotFound("{}: has no tensor \"{}\"", path_.string(), name);
  }
  std::vector<float> values(static_cast<size_t>(tensor->elements()));
  const Status status = ToFloats(*tensor, 0, values);
  if (!status.ok()) {
    return Annotate(status, fmt::format("{}: {}", path_.string(), name));
  }
  return values;
}

}  // namespace tributary::safetensors
