#pragma once

// The two bulk messages of BlobService on the wire, without copying their
// bytes: what is read points into the received buffer, what is written refers
// to the slice that holds the data. The bytes are those of the protobuf
// messages tributary.v1.WriteRequest and ReadResponse.

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tributary::rpc {

// A received WriteRequest. `data` points into the buffer that it was parsed
// from.
struct WriteMessage {
  std::string resource_name;
  std::string contribution;
  int64_t write_offset = 0;
  bool finish_write = false;
  std::vector<std::string_view> data;
  uint64_t data_size = 0;  // bytes of all pieces of `data`
};

// INVALID_ARGUMENT when the buffer is no such message. Unknown fields are
// skipped; of a field that comes twice the last one counts.
StatusOr<WriteMessage> ParseWriteMessage(const grpc::ByteBuffer& buffer);

// A WriteRequest with `data` as its bytes. The first message of a stream names
// blob and contribution, later ones leave both empty.
struct WriteHeader {
  std::string_view resource_name;
  std::string_view contribution;
  int64_t write_offset = 0;
  bool finish_write = false;
};
grpc::ByteBuffer MakeWriteMessage(const WriteHeader& header,
                                  const grpc::Slice& data);

// A ReadResponse with `data` as its bytes.
grpc::ByteBuffer MakeReadMessage(const grpc::Slice& data);

// The pieces of a received ReadResponse, pointing into `buffer`.
// INVALID_ARGUMENT when it is no such message.
StatusOr<std::vector<std::string_view>> ParseReadMessage(
    const grpc::ByteBuffer& buffer);

}  // namespace tributary::rpc
