#include "common/rpc/blob_message.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>

namespace tributary::rpc {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

// Field numbers of tributary.v1.WriteRequest and ReadResponse.
constexpr int kResourceName = 1;
constexpr int kContribution = 2;
constexpr int kWriteOffset = 3;
constexpr int kFinishWrite = 4;
constexpr int kWriteData = 5;
constexpr int kReadData = 1;

constexpr int kMaxNameBytes = 1024;

constexpr uint32_t BytesTag(int field) {
  return WireFormatLite::MakeTag(field,
                                 WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}
constexpr uint32_t VarintTag(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT);
}

Status Malformed(std::string_view what) {
  return InvalidArgument("malformed message: {}", what);
}

bool ReadName(CodedInputStream& in, std::string& name) {
  int size = 0;
  return in.ReadVarintSizeAsInt(&size) && size <= kMaxNameBytes &&
         in.ReadString(&name, size);
}

// The pieces of a bytes field, in place.
bool ReadPieces(CodedInputStream& in, std::vector<std::string_view>& pieces,
                uint64_t& total) {
  int size = 0;
  if (!in.ReadVarintSizeAsInt(&size)) {
    return false;
  }
  pieces.clear();
  total = static_cast<uint64_t>(size);
  while (size > 0) {
    const void* data = nullptr;
    int available = 0;
    if (!in.GetDirectBufferPointer(&data, &available)) {
      return false;
    }
    const int taken = std::min(available, size);
    pieces.emplace_back(static_cast<const char*>(data),
                        static_cast<size_t>(taken));
    if (!in.Skip(taken)) {
      return false;
    }
    size -= taken;
  }
  return true;
}

bool ReadField(CodedInputStream& in, uint32_t tag, WriteMessage& message) {
  google::protobuf::uint64 value = 0;
  switch (tag) {
    case BytesTag(kResourceName):
      return ReadName(in, message.resource_name);
    case BytesTag(kContribution):
      return ReadName(in, message.contribution);
    case VarintTag(kWriteOffset):
      if (!in.ReadVarint64(&value)) {
        return false;
      }
      message.write_offset = static_cast<int64_t>(value);
      return true;
    case VarintTag(kFinishWrite):
      if (!in.ReadVarint64(&value)) {
        return false;
      }
      message.finish_write = value != 0;
      return true;
    case BytesTag(kWriteData):
      return ReadPieces(in, message.data, message.data_size);
    default:
      return WireFormatLite::SkipField(&in, tag);
  }
}

// Runs `read(in, tag)` for every field of a message.
template <typename Read>
Status ForEachField(const grpc::ByteBuffer& buffer, Read&& read) {
  if (!buffer.Valid()) {
    return absl::OkStatus();  // no bytes: a message without fields
  }
  // The reader takes a pointer that is not const, but only reads. (A copy would
  // hold short slices in itself, and the pieces would point into it.)
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&buffer));
  if (!reader.status().ok()) {
    return Malformed("unreadable buffer");
  }
  CodedInputStream in(&reader);
  while (const uint32_t tag = in.ReadTag()) {
    if (!read(in, tag)) {
      return Malformed("a field is cut short or too long");
    }
  }
  return in.ConsumedEntireMessage() ? absl::OkStatus()
                                    : Malformed("it does not end with a field");
}

grpc::ByteBuffer Join(const std::string& head, const grpc::Slice& data) {
  const grpc::Slice slices[] = {grpc::Slice(head), data};
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace

StatusOr<WriteMessage> ParseWriteMessage(const grpc::ByteBuffer& buffer) {
  WriteMessage message;
  RETURN_IF_ERROR(ForEachField(buffer, [&](CodedInputStream& in, uint32_t tag) {
    return ReadField(in, tag, message);
  }));
  return message;
}

grpc::ByteBuffer MakeWriteMessage(const WriteHeader& header,
                                  const grpc::Slice& data) {
  std::string head;
  {
    google::protobuf::io::StringOutputStream stream(&head);
    CodedOutputStream out(&stream);
    const auto name = [&](int field, std::string_view text) {
      if (!text.empty()) {
        out.WriteTag(BytesTag(field));
        out.WriteVarint32(static_cast<uint32_t>(text.size()));
        out.WriteRaw(text.data(), static_cast<int>(text.size()));
      }
    };
    name(kResourceName, header.resource_name);
    name(kContribution, header.contribution);
    if (header.write_offset != 0) {
      out.WriteTag(VarintTag(kWriteOffset));
      out.WriteVarint64(static_cast<uint64_t>(header.write_offset));
    }
    if (header.finish_write) {
      out.WriteTag(VarintTag(kFinishWrite));
      out.WriteVarint32(1);
    }
    if (data.size() > 0) {
      out.WriteTag(BytesTag(kWriteData));
      out.WriteVarint32(static_cast<uint32_t>(data.size()));
    }
  }
  return Join(head, data);
}

grpc::ByteBuffer MakeReadMessage(const grpc::Slice& data) {
  std::string head;
  {
    google::protobuf::io::StringOutputStream stream(&head);
    CodedOutputStream out(&stream);
    if (data.size() > 0) {
      out.WriteTag(BytesTag(kReadData));
      out.WriteVarint32(static_cast<uint32_t>(data.size()));
    }
  }
  return Join(head, data);
}

StatusOr<std::vector<std::string_view>> ParseReadMessage(
    const grpc::ByteBuffer& buffer) {
  std::vector<std::string_view> pieces;
  uint64_t size = 0;
  RETURN_IF_ERROR(ForEachField(buffer, [&](CodedInputStream& in, uint32_t tag) {
    return tag == BytesTag(kReadData) ? ReadPieces(in, pieces, size)
                                      : WireFormatLite::SkipField(&in, tag);
  }));
  return pieces;
}

}  // namespace tributary::rpc
