#pragma once

// The content of a text file in pieces, decompressed on the way.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "common/base/status.h"
#include "common/text/text_files.h"

namespace tributary::text {

struct ExpansionLimits {
  // A compressed file may become at most this many times as long. Text shrinks
  // 3 to 10 times, repetitive logs up to 100 times; what shrinks more is meant
  // to fill a disk.
  uint64_t max_ratio = 250;
  // Content of this length is fine at any ratio.
  uint64_t free_bytes = 64ull << 20;
};

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Fills the start of `out` and returns how many bytes; 0 at the end, and only
  // there. INVALID_ARGUMENT when compressed data are damaged or cut,
  // RESOURCE_EXHAUSTED when they expand too much. Messages begin with the path.
  virtual StatusOr<size_t> Read(std::span<char> out) = 0;

  // Bytes of the file consumed so far: for progress.
  virtual uint64_t file_position() const = 0;
};

// Opens a file of that kind: gzip (RFC 1952, also of several members) or
// Zstandard (RFC 8878, also of several frames, windows of at most 128 MiB).
// Errors as OpenFile.
StatusOr<std::unique_ptr<ByteSource>> OpenByteSource(
    const std::filesystem::path& path, FileKind::Packing packing,
    const ExpansionLimits& limits = {});

}  // namespace tributary::text
