#include "contributor/data/window_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "common/safetensors/header.h"

namespace tributary::contributor {

StatusOr<std::unique_ptr<WindowFile>> WindowFile::Create(
    const std::filesystem::path& path, const std::vector<Tensor>& tensors,
    int64_t window_tokens) {
  std::vector<safetensors::TensorSpec> specs;
  for (const Tensor& tensor : tensors) {
    specs.push_back({tensor.name,
                     safetensors::DType::kI32,
                     {tensor.windows, window_tokens}});
  }
  ASSIGN_OR_RETURN(const std::string header,
                   safetensors::SerializeHeader(specs));
  ASSIGN_OR_RETURN(
      FileDescriptor descriptor,
      OpenFile(path.string() + ".part", O_RDWR | O_CREAT | O_TRUNC));
  std::unique_ptr<WindowFile> file(new WindowFile(path, std::move(descriptor)));
  RETURN_IF_ERROR(WriteAll(file->file_, header, 0));
  uint64_t at = header.size();
  for (const auto& spec : specs) {
    file->begins_.push_back(at);
    ASSIGN_OR_RETURN(const uint64_t bytes, safetensors::TensorBytes(spec));
    at += bytes;
  }
  if (ftruncate(file->file_.get(), static_cast<off_t>(at)) != 0) {
    return ErrnoStatus(errno, "extend " + file->temporary_.string());
  }
  return file;
}

WindowFile::~WindowFile() {
  if (!finished_) {
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
  }
}

Status WindowFile::Write(size_t tensor, int64_t at,
                         std::span<const int32_t> values) {
  return WriteAll(
      file_,
      {reinterpret_cast<const char*>(values.data()), values.size_bytes()},
      begins_[tensor] + static_cast<uint64_t>(at) * 4);
}

Status WindowFile::Read(size_t tensor, int64_t at,
                        std::span<int32_t> values) const {
  auto* to = reinterpret_cast<char*>(values.data());
  size_t left = values.size_bytes();
  auto offset =
      static_cast<off_t>(begins_[tensor] + static_cast<uint64_t>(at) * 4);
  while (left > 0) {
    const ssize_t got = pread(file_.get(), to, left, offset);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return got < 0 ? ErrnoStatus(errno, "read " + temporary_.string())
                     : DataLoss("{}: became shorter while being written",
                                temporary_.string());
    }
    to += got;
    left -= static_cast<size_t>(got);
    offset += got;
  }
  return absl::OkStatus();
}

Status WindowFile::Finish() {
  if (fsync(file_.get()) != 0) {
    return ErrnoStatus(errno, "fsync " + temporary_.string());
  }
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  if (error) {
    return ErrnoStatus(error.value(), "rename " + temporary_.string());
  }
  finished_ = true;
  return SyncDirectory(path_.parent_path().empty() ? "." : path_.parent_path());
}

}  // namespace tributary::contributor
