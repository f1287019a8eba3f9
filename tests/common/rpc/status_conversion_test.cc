#include "common/rpc/status_conversion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::rpc {
namespace {

TEST(StatusConversionTest, CodesAndMessagesMapBothWays) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  for (int code = 1; code <= 16; ++code) {
    const Status status(static_cast<absl::StatusCode>(code), "why");
    const grpc::Status converted = ToGrpcStatus(status);
    EXPECT_EQ(static_cast<int>(converted.error_code()), code);
    EXPECT_EQ(FromGrpcStatus(converted), status);
  }
}

TEST(StatusConversionTest, ErrorInfoTravels) {
  const Status status = WithErrorInfo(
      Aborted("wrong offset"),
      {.reason = kWriteOffsetMismatch, .metadata = {{kCommittedSizeKey, "7"}}});
  const Status received = FromGrpcStatus(ToGrpcStatus(status));
  EXPECT_TRUE(absl::IsAborted(received));
  EXPECT_TRUE(HasReason(received, kWriteOffsetMismatch));
  EXPECT_FALSE(HasReason(received, kQuota));
  const auto info = GetErrorInfo(received);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->metadata.at(kCommittedSizeKey), "7");
  EXPECT_FALSE(GetErrorInfo(Aborted("plain")));
}

TEST(StatusConversionTest, MalformedDetailsAreIgnored) {
  const grpc::Status status(grpc::StatusCode::ABORTED, "why", "\xff garbage");
  EXPECT_EQ(FromGrpcStatus(status), Aborted("why"));
}

TEST(StatusConversionTest, FailedHandshakesAreNotWorthRetrying) {
  const Status status = FromGrpcStatus(grpc::Status(
      grpc::StatusCode::UNAVAILABLE,
      "failed to connect: error:0A000086:SSL routines::certificate verify "
      "failed"));
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_TRUE(absl::IsUnavailable(FromGrpcStatus(
      grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"))));
}

}  // namespace
}  // namespace tributary::rpc
