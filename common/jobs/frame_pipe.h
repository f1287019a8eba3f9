#pragma once

// Messages over a pipe or socket: four bytes with the length, little-endian,
// then so many bytes.

#include <atomic>
#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::jobs {

inline constexpr size_t kMaxFrameBytes = 64u << 20;

// Reads frames from a descriptor that it does not own.
class FrameReader {
 public:
  explicit FrameReader(int fd) : fd_(fd) {}

  // The next frame; nothing at the end of the stream, or when `stop` (polled a
  // few times a second; null: never) is set. INVALID_ARGUMENT for a frame of
  // more than kMaxFrameBytes, DATA_LOSS when the stream ends within one.
  StatusOr<std::optional<std::string>> Next(
      const std::atomic<bool>* stop = nullptr);

 private:
  // Reads until there are `wanted` bytes; false at the end or when stopped.
  StatusOr<bool> Fill(size_t wanted, const std::atomic<bool>* stop);

  const int fd_;
  std::string buffer_;
};

// Writes frames to a descriptor that it does not own. Thread-safe.
class FrameWriter {
 public:
  explicit FrameWriter(int fd) : fd_(fd) {}

  // UNAVAILABLE when nobody reads any longer. SIGPIPE must be ignored.
  Status Write(std::string_view message);

 private:
  const int fd_;
  std::mutex mutex_;
};

}  // namespace tributary::jobs
