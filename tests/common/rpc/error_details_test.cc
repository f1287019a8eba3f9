#include "common/rpc/error_details.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "common/rpc/status_conversion.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tributary/v1/release.pb.h"

namespace tributary::rpc {
namespace {

// The details as they arrive at the other end, by type.
std::map<std::string, std::string> DetailsOf(const Status& status) {
  google::rpc::Status wire;
  EXPECT_TRUE(wire.ParseFromString(ToGrpcStatus(status).error_details()));
  std::map<std::string, std::string> details;
  for (const auto& any : wire.details()) {
    details[any.type_url()] = any.value();
  }
  return details;
}

template <typename Detail>
Detail Get(const Status& status) {
  Detail detail;
  const auto details = DetailsOf(status);
  const auto found =
      details.find("type.googleapis.com/" + detail.GetTypeName());
  EXPECT_NE(found, details.end());
  EXPECT_TRUE(found != details.end() && detail.ParseFromString(found->second));
  return detail;
}

TEST(ErrorDetailsTest, EveryErrorHasAReason) {
  const v1::GetReleaseRequest request;
  EXPECT_TRUE(WithDetails(absl::OkStatus(), &request).ok());
  const Status status = WithDetails(Internal("broken"), &request);
  EXPECT_EQ(GetErrorInfo(status)->reason, "INTERNAL");
  EXPECT_EQ(DetailsOf(status).size(), 1u);
  const Status own = WithDetails(
      WithErrorInfo(ResourceExhausted("full"), {.reason = kLowDisk}), nullptr);
  EXPECT_EQ(GetErrorInfo(own)->reason, kLowDisk);
  EXPECT_EQ(Get<google::rpc::RetryInfo>(own).retry_delay().seconds(), 60);
  // What arrived keeps all of them.
  EXPECT_EQ(DetailsOf(FromGrpcStatus(ToGrpcStatus(own))), DetailsOf(own));
}

TEST(ErrorDetailsTest, FieldsOfTheRequestAreNamed) {
  const v1::ReportEvaluationRequest request;
  const auto bad = Get<google::rpc::BadRequest>(WithDetails(
      InvalidArgument("evaluations.text_label: got 'A', wanted a-z"),
      &request));
  ASSERT_EQ(bad.field_violations_size(), 1);
  EXPECT_EQ(bad.field_violations(0).field(), "evaluations.text_label");
  EXPECT_EQ(bad.field_violations(0).description(), "got 'A', wanted a-z");
  // Parsers of names do not know what a request calls the field.
  EXPECT_EQ(Get<google::rpc::BadRequest>(
                WithDetails(InvalidArgument("name: got 'x'"), &request))
                .field_violations(0)
                .field(),
            "release");
  for (const char* message : {"evaluations.nothing: got", "no field here",
                              "colour: of another type"}) {
    EXPECT_EQ(
        DetailsOf(WithDetails(InvalidArgument("{}", message), &request)).size(),
        1u)
        << message;
  }
}

TEST(ErrorDetailsTest, ResourcesAndDelaysAreNamed) {
  const auto resource = Get<google::rpc::ResourceInfo>(WithDetails(
      NotFound("contributions/a: you have no such contribution"), nullptr));
  EXPECT_EQ(resource.resource_type(), "tributary.v1/Contribution");
  EXPECT_EQ(resource.resource_name(), "contributions/a");
  EXPECT_EQ(
      Get<google::rpc::RetryInfo>(WithDetails(Unavailable("draining"), nullptr))
          .retry_delay()
          .seconds(),
      1);
}

}  // namespace
}  // namespace tributary::rpc
