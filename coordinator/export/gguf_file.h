#pragma once

// GGUF version 3, the container of llama.cpp: key-value metadata, then tensors
// at multiples of 32 bytes. Written piece by piece; read through a map.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/files.h"
#include "common/base/status.h"

namespace tributary::coordinator::gguf {

// Values of the types that models need.
using Value = std::variant<uint32_t, int32_t, float, bool, std::string,
                           std::vector<std::string>, std::vector<int32_t>>;
using Metadata = std::vector<std::pair<std::string, Value>>;

// Tensors begin at multiples of this.
inline constexpr uint64_t kAlignment = 32;
constexpr uint64_t Aligned(uint64_t position) {
  return (position + kAlignment - 1) / kAlignment * kAlignment;
}

// The element types that are not quantised.
enum class Type : uint32_t { kF32 = 0, kF16 = 1, kBF16 = 30 };

uint64_t TypeSize(Type type);

struct Tensor {
  std::string name;
  Type type = Type::kF32;
  // Row-major, slowest dimension first (the file has them the other way
  // round). One to four of them.
  std::vector<int64_t> shape;

  uint64_t bytes() const;
};

class Writer {
 public:
  // Starts a new file. INVALID_ARGUMENT for bad shapes, otherwise as OpenFile.
  static StatusOr<std::unique_ptr<Writer>> Create(
      const std::filesystem::path& path, const Metadata& metadata,
      std::vector<Tensor> tensors);

  // The next bytes: tensors in the declared order, each in any number of
  // pieces. OUT_OF_RANGE when more than declared would be written.
  Status Append(std::span<const std::byte> bytes);

  // Makes the file durable. FAILED_PRECONDITION when bytes are missing.
  Status Finish();

  uint64_t file_bytes() const { return position_; }

 private:
  Writer(FileDescriptor file, std::vector<Tensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}
  Status Write(std::span<const std::byte> bytes);
  Status Flush();
  Status Pad();

  FileDescriptor file_;
  const std::vector<Tensor> tensors_;
  size_t next_ = 0;        // tensor being written
  uint64_t written_ = 0;   // of it
  uint64_t position_ = 0;  // in the file, with the buffer
  std::string buffer_;
};

// An opened and checked file. Views live as long as the object.
class File {
 public:
  // INVALID_ARGUMENT naming what is wrong, otherwise as OpenFile. Array values
  // of other than strings and int32 are refused.
  static StatusOr<std::unique_ptr<File>> Open(
      const std::filesystem::path& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::vector<Tensor>& tensors() const { return tensors_; }
  const Tensor* Find(const std::string& name) const;
  std::span<const std::byte> Bytes(const Tensor& tensor) const;
  // Null when there is none or it has another type.
  template <typename T>
  const T* Get(const std::string& key) const {
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : std::get_if<T>(&found->second);
  }

 private:
  File(std::span<const std::byte> bytes) : bytes_(bytes) {}
  Status Parse(const std::string& name);

  const std::span<const std::byte> bytes_;
  std::map<std::string, Value> metadata_;
  std::vector<Tensor> tensors_;
  std::map<std::string, std::pair<size_t, uint64_t>> index_;  // and offset
};

}  // namespace tributary::coordinator::gguf
