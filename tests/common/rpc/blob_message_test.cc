#include "common/rpc/blob_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/random.h"
#include "tributary/v1/blob.pb.h"

namespace tributary::rpc {
namespace {

std::string Joined(const std::vector<std::string_view>& pieces) {
  std::string all;
  for (const std::string_view piece : pieces) {
    all += piece;
  }
  return all;
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// The bytes as they arrive: in slices of `size`.
grpc::ByteBuffer InSlices(const std::string& bytes, size_t size) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += size) {
    slices.emplace_back(bytes.substr(at, size));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

v1::WriteRequest Sample() {
  v1::WriteRequest message;
  message.set_resource_name("blobs/sha256/ab/12");
  message.set_contribution("contributions/a");
  message.set_write_offset(1ll << 40);
  message.set_finish_write(true);
  message.set_data(RandomBytes(100'000));
  return message;
}

TEST(BlobMessage, WritesWhatProtobufReads) {
  const v1::WriteRequest sample = Sample();
  v1::WriteRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(
      BytesOf(MakeWriteMessage({.resource_name = sample.resource_name(),
                                .contribution = sample.contribution(),
                                .write_offset = sample.write_offset(),
                                .finish_write = true},
                               grpc::Slice(sample.data())))));
  EXPECT_EQ(parsed.SerializeAsString(), sample.SerializeAsString());
  ASSERT_TRUE(parsed.ParseFromString(
      BytesOf(MakeWriteMessage({.finish_write = true}, grpc::Slice()))));
  EXPECT_TRUE(parsed.finish_write());
  v1::ReadResponse response;
  ASSERT_TRUE(response.ParseFromString(
      BytesOf(MakeReadMessage(grpc::Slice(sample.data())))));
  EXPECT_EQ(response.data(), sample.data());
}

TEST(BlobMessage, ReadsWhatProtobufWritesHoweverItIsCut) {
  const v1::WriteRequest sample = Sample();
  const std::string bytes = sample.SerializeAsString();
  for (const size_t slice :
       {size_t{1}, size_t{7}, size_t{8192}, bytes.size()}) {
    const grpc::ByteBuffer buffer = InSlices(bytes, slice);
    const auto message = ParseWriteMessage(buffer);
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(message->resource_name, sample.resource_name());
    EXPECT_EQ(message->contribution, sample.contribution());
    EXPECT_EQ(message->write_offset, sample.write_offset());
    EXPECT_TRUE(message->finish_write);
    EXPECT_EQ(message->data_size, sample.data().size());
    EXPECT_EQ(Joined(message->data), sample.data());
  }
  v1::ReadResponse response;
  response.set_data(sample.data());
  const grpc::ByteBuffer buffer = InSlices(response.SerializeAsString(), 1000);
  const auto pieces = ParseReadMessage(buffer);
  ASSERT_TRUE(pieces.ok());
  EXPECT_EQ(Joined(*pieces), sample.data());
}

TEST(BlobMessage, UnknownFieldsAreSkippedAndTheLastValueCounts) {
  v1::WriteRequest first = Sample();
  v1::WriteRequest second;
  second.set_data("second");
  second.set_write_offset(5);
  // Field 100, a string.
  const std::string unknown = "\xa2\x06\x03xyz";
  const grpc::ByteBuffer buffer = InSlices(
      first.SerializeAsString() + unknown + second.SerializeAsString(), 4096);
  const auto message = ParseWriteMessage(buffer);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(Joined(message->data), "second");
  EXPECT_EQ(message->data_size, 6u);
  EXPECT_EQ(message->write_offset, 5);
}

TEST(BlobMessage, AnEmptyMessageHasNoFields) {
  const auto message = ParseWriteMessage(grpc::ByteBuffer());
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->data_size, 0u);
}

TEST(BlobMessage, EveryCutAndEveryFlippedByteIsAnErrorOrAMessage) {
  v1::WriteRequest sample = Sample();
  sample.set_data("0123456789");
  const std::string bytes = sample.SerializeAsString();
  for (size_t end = 0; end < bytes.size(); ++end) {
    const grpc::ByteBuffer buffer = InSlices(bytes.substr(0, end), 5);
    v1::WriteRequest reference;
    EXPECT_EQ(ParseWriteMessage(buffer).ok(),
              reference.ParseFromString(bytes.substr(0, end)))
        << end;
  }
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string altered = bytes;
      altered[at] = static_cast<char>(altered[at] ^ (1 << bit));
      const grpc::ByteBuffer buffer = InSlices(altered, 3);
      const auto message = ParseWriteMessage(buffer);
      v1::WriteRequest reference;
      if (message.ok() && reference.ParseFromString(altered)) {
        EXPECT_EQ(Joined(message->data), reference.data());
        EXPECT_EQ(message->write_offset, reference.write_offset());
      }
    }
  }
}

}  // namespace
}  // namespace tributary::rpc
