#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/base/status.h"

namespace tributary::benchmarks {

// Both ends of a connection over loopback, each for one thread: bare TCP, or
// TLS 1.3 through OpenSSL with its default cipher.
class Link {
 public:
  enum class Kind { kTcp, kTls };
  static StatusOr<std::unique_ptr<Link>> Create(Kind kind);
  virtual ~Link() = default;
  // As write() and read(): at most so many bytes, how many there were.
  virtual ssize_t Send(const char* data, size_t size) = 0;
  virtual ssize_t Receive(char* data, size_t size) = 0;
};

// Seconds that one thread takes to hand `bytes` to another, from the first byte
// sent to the last byte read.
StatusOr<double> RawSeconds(Link::Kind kind, uint64_t bytes);

// Seconds that `threads` threads take to hash `bytes` each with the hash of
// uploads.
double HashSeconds(int threads, uint64_t bytes);

}  // namespace tributary::benchmarks
