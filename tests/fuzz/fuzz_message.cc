// Upload and download messages on the wire: what our parser accepts, protobuf
// accepts with the same fields.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "common/rpc/blob_message.h"
#include "tributary/v1/blob.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const grpc::Slice slice(data, size);
  const grpc::ByteBuffer buffer(&slice, 1);
  tributary::rpc::ParseReadMessage(buffer).status().IgnoreError();
  const auto parsed = tributary::rpc::ParseWriteMessage(buffer);
  tributary::v1::WriteRequest reference;
  const bool valid = reference.ParseFromArray(data, static_cast<int>(size));
  if (!parsed.ok()) {
    return 0;
  }
  std::string bytes;
  for (const std::string_view piece : parsed->data) {
    bytes += piece;
  }
  if (valid && (parsed->resource_name != reference.resource_name() ||
                parsed->contribution != reference.contribution() ||
                parsed->write_offset != reference.write_offset() ||
                parsed->finish_write != reference.finish_write() ||
                bytes != reference.data())) {
    std::abort();
  }
  return 0;
}
