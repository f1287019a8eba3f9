#pragma once

// The header of a safetensors file: an 8-byte little-endian length N, N bytes
// of JSON, then the data. Files come from strangers, so parsing is strict: caps
// first, checked arithmetic, and one named fault for each way to be wrong.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/safetensors/dtype.h"
#include "common/safetensors/fault.h"
#include "common/safetensors/shape.h"

namespace tributary::safetensors {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  // Position of the bytes, relative to the first byte behind the header.
  uint64_t begin = 0;
  uint64_t end = 0;

  uint64_t bytes() const { return end - begin; }
  int64_t elements() const {
    return static_cast<int64_t>(bytes() / DTypeSize(dtype));
  }
};

struct HeaderLimits {
  uint64_t max_header_bytes = 1 << 20;
  size_t max_tensors = 100'000;
  size_t max_key_bytes = 512;
  // Whether the header must list tensors in the order of their data.
  enum class Order { kAsStored, kAny } order = Order::kAsStored;
  // The keys that __metadata__ may have; nothing: any.
  std::optional<std::set<std::string>> metadata_keys;

  // For expert files: at most 1 MiB, and only the metadata key "format".
  static HeaderLimits ForExpert();
  // For model files that an operator imports: at most 100,000,000 bytes, any
  // order and metadata.
  static HeaderLimits ForModel();
};

struct Header {
  std::vector<TensorInfo> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // position of the data in the file

  // The tensor of that name, or null. One hash look-up.
  const TensorInfo* Find(std::string_view name) const;

  // Prepares Find; call it again after a change of `tensors`. Returns a tensor
  // whose name occurs before it, or null when all names differ.
  const TensorInfo* Index();

 private:
  // Open addressing over `tensors`: an index plus one, 0 where free.
  std::vector<uint32_t> table_;
};

// Parses the first bytes of a file of `file_bytes` bytes: `prefix` is the whole
// header with its 8-byte length (more is ignored; less is kTooShort or
// kHeaderPastEnd). INVALID_ARGUMENT with a fault (see FaultOf) otherwise.
StatusOr<Header> ParseHeader(std::string_view prefix, uint64_t file_bytes,
                             const HeaderLimits& limits);

// A tensor to be written.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;

  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

// The length and the header of a file that holds `tensors` in this order,
// padded with spaces so that the data begin at a multiple of 8. A pure function
// of its arguments. INVALID_ARGUMENT for duplicate or empty names, invalid
// UTF-8 and overflowing sizes.
StatusOr<std::string> SerializeHeader(
    const std::vector<TensorSpec>& tensors,
    const std::map<std::string, std::string>& metadata = {});

// The bytes that a tensor takes. INVALID_ARGUMENT when negative or too large.
StatusOr<uint64_t> TensorBytes(const TensorSpec& tensor);

}  // namespace tributary::safetensors
