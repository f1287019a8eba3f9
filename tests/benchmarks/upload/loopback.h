#pragma once

#include <cstdint>

#include "common/base/status.h"

namespace tributary::benchmarks {

// Seconds that one thread takes to hand `bytes` to another over a loopback
// socket, from the first byte sent to the last byte read.
StatusOr<double> RawTcpSeconds(uint64_t bytes);
// The same through OpenSSL, TLS 1.3 with its default cipher.
StatusOr<double> RawTlsSeconds(uint64_t bytes);

// Seconds that `threads` threads take to hash `bytes` each with the hash of
// uploads.
double HashSeconds(int threads, uint64_t bytes);

}  // namespace tributary::benchmarks
