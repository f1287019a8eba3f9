#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/files.h"
#include "common/base/status.h"
#include "common/safetensors/header.h"

namespace tributary::safetensors {

struct ReadOptions {
  HeaderLimits limits = HeaderLimits::ForExpert();
};

// An opened, checked and memory-mapped file. Immutable and thread-safe; views
// live as long as the object.
class File {
 public:
  // Maps the file and parses its header. NOT_FOUND when there is none,
  // INVALID_ARGUMENT with a fault (header.h) when it is not as it should be;
  // messages begin with the path.
  static StatusOr<std::shared_ptr<const File>> Open(
      const std::filesystem::path& path, const ReadOptions& options = {});

  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // All tensors in the order of their data.
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  // The tensor of that name, or null.
  const TensorInfo* Find(std::string_view name) const {
    return header_.Find(name);
  }
  const std::map<std::string, std::string>& metadata() const {
    return header_.metadata;
  }
  const std::filesystem::path& path() const { return path_; }
  uint64_t file_bytes() const { return file_bytes_; }
  // Where the data begin in the file, in bytes.
  uint64_t data_begin() const { return header_.data_begin; }

  // The bytes of one of this file's tensors, without a copy. Not necessarily
  // aligned to the element. The file must not be cut while it is mapped (the
  // process would get SIGBUS): files that others may change are read with
  // Read().
  std::span<const std::byte> Bytes(const TensorInfo& tensor) const {
    return {data_ + header_.data_begin + tensor.begin, tensor.bytes()};
  }

  // Elements [first, first + out.size()) of a tensor of F64, F32, F16 or BF16
  // as fp32; may be called for parts on several threads. The pages are mapped
  // some at a time, which costs less than a fault for every few of them.
  // INVALID_ARGUMENT for another dtype, OUT_OF_RANGE when the elements are not
  // inside the tensor.
  Status ToFloats(const TensorInfo& tensor, uint64_t first,
                  std::span<float> out) const;

  // Copies `out.size()` bytes of a tensor from `offset` on through read(2).
  // DATA_LOSS when the file has become shorter, OUT_OF_RANGE when the range is
  // not inside the tensor.
  Status Read(const TensorInfo& tensor, uint64_t offset,
              std::span<std::byte> out) const;

  // A tensor of F64, F32, F16 or BF16 as fp32 values in row-major order.
  // NOT_FOUND for an unknown name, INVALID_ARGUMENT for another dtype.
  StatusOr<std::vector<float>> ReadFloats(std::string_view name) const;

 private:
  File(std::filesystem::path path, FileDescriptor file, uint64_t file_bytes,
       const std::byte* data)
      : path_(std::move(path)),
        file_(std::move(file)),
        file_bytes_(file_bytes),
        data_(data) {}

  const std::filesystem::path path_;
  const FileDescriptor file_;
  const uint64_t file_bytes_;
  const std::byte* const data_;
  Header header_;  // constant after Open
};

}  // namespace tributary::safetensors
