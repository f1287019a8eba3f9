#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/base/status.h"
#include "common/safetensors/header.h"

namespace tributary::safetensors {

struct WriteOptions {
  std::map<std::string, std::string> metadata;
  unsigned mode = 0644;
};

// Writes a file whose tensors are declared first and whose data follow piece by
// piece, so that it may be larger than memory. Nothing appears under `path`
// before Finish: a temporary file beside it is fsynced and renamed. The same
// declarations and data give the same bytes.
class Writer {
 public:
  // INVALID_ARGUMENT for bad declarations, otherwise as OpenFile.
  static StatusOr<std::unique_ptr<Writer>> Create(
      const std::filesystem::path& path, std::vector<TensorSpec> tensors,
      const WriteOptions& options = {});

  // Removes the temporary file unless Finish succeeded.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // The next bytes of the data: tensors in the declared order, a tensor in any
  // number of pieces. OUT_OF_RANGE when more than declared would be written.
  Status Append(std::span<const std::byte> bytes);

  // Makes the file durable and visible. FAILED_PRECONDITION when fewer bytes
  // were appended than declared.
  Status Finish();

  uint64_t file_bytes() const { return data_begin_ + data_bytes_; }

 private:
  Writer(std::filesystem::path path, std::filesystem::path temporary,
         FileDescriptor file, uint64_t data_begin, uint64_t data_bytes);
  Status Flush();

  const std::filesystem::path path_;
  const std::filesystem::path temporary_;
  FileDescriptor file_;
  const uint64_t data_begin_;
  const uint64_t data_bytes_;
  uint64_t appended_ = 0;
  uint64_t flushed_ = 0;
  std::vector<std::byte> buffer_;
  bool finished_ = false;
};

// A tensor with its data.
struct TensorView {
  TensorSpec spec;
  std::span<const std::byte> bytes;
};

// Writes all tensors at once. INVALID_ARGUMENT when bytes do not fit a shape.
Status WriteFile(const std::filesystem::path& path,
                 const std::vector<TensorView>& tensors,
                 const WriteOptions& options = {});

}  // namespace tributary::safetensors
