#pragma once

// Constants of the blob service that both ends keep to.

#include <cstdint>

namespace tributary::rpc {

// Largest `data` of one message of BlobService.Write and Read, bytes.
inline constexpr int64_t kMaxChunkBytes = 1 << 20;

// Largest message that either end accepts, bytes.
inline constexpr int kMaxMessageBytes = 4 << 20;

// The server makes an upload durable at least this often, bytes.
inline constexpr int64_t kCommitIntervalBytes = 32 << 20;

// An upload stream without a byte for this long is ended, seconds.
inline constexpr int kIdleStreamSeconds = 600;

// Most names in one FindMissingBlobs call.
inline constexpr int kMaxBlobNames = 1000;

}  // namespace tributary::rpc
