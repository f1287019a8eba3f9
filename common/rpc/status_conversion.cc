#include "common/rpc/status_conversion.h"

#include <utility>

#include "absl/strings/cord.h"
#include "google/protobuf/any.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace tributary::rpc {
namespace {

constexpr char kPayloadUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
// Every detail of this package travels.
constexpr std::string_view kDetailPrefix = "type.googleapis.com/google.rpc.";

// gRPC reports every failed handshake as UNAVAILABLE, as if trying again could
// help.
std::string ExplainHandshake(const std::string& message) {
  const bool verify =
      message.find("CERTIFICATE_VERIFY_FAILED") != std::string::npos ||
      message.find("certificate verify failed") != std::string::npos;
  const bool name = message.find("Peer name") != std::string::npos;
  if (verify) {
    return "the other side's certificate was not issued by this federation's "
           "CA, or has expired: check the address, the clock and that the "
           "identity belongs to this federation";
  }
  if (name) {
    return "the coordinator's certificate does not name the address that was "
           "dialled: add the host to public_hosts in coordinator.textproto and "
           "restart the coordinator";
  }
  return "";
}

}  // namespace

Status WithErrorInfo(Status status, const ErrorInfo& info) {
  google::rpc::ErrorInfo detail;
  detail.set_reason(info.reason);
  detail.set_domain(kErrorDomain);
  for (const auto& [key, value] : info.metadata) {
    (*detail.mutable_metadata())[key] = value;
  }
  status.SetPayload(kPayloadUrl, absl::Cord(detail.SerializeAsString()));
  return status;
}

std::optional<ErrorInfo> GetErrorInfo(const Status& status) {
  const auto payload = status.GetPayload(kPayloadUrl);
  google::rpc::ErrorInfo detail;
  if (!payload || !detail.ParseFromString(std::string(*payload)) ||
      detail.domain() != kErrorDomain) {
    return std::nullopt;
  }
  ErrorInfo info;
  info.reason = detail.reason();
  info.metadata.insert(detail.metadata().begin(), detail.metadata().end());
  return info;
}

bool HasReason(const Status& status, std::string_view reason) {
  const auto info = GetErrorInfo(status);
  return info && info->reason == reason;
}

grpc::Status ToGrpcStatus(const Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  const auto code = static_cast<grpc::StatusCode>(status.raw_code());
  const std::string message(status.message());
  google::rpc::Status details;
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    if (std::string_view(url.data(), url.size()).starts_with(kDetailPrefix)) {
      google::protobuf::Any* any = details.add_details();
      any->set_type_url(std::string(url));
      any->set_value(std::string(payload));
    }
  });
  if (details.details().empty()) {
    return grpc::Status(code, message);
  }
  details.set_code(status.raw_code());
  details.set_message(message);
  return grpc::Status(code, message, details.SerializeAsString());
}

Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    if (std::string text = ExplainHandshake(status.error_message());
        !text.empty()) {
      return absl::UnauthenticatedError(text);
    }
  }
  Status result(static_cast<absl::StatusCode>(status.error_code()),
                status.error_message());
  google::rpc::Status details;
  if (!status.error_details().empty() &&
      details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& any : details.details()) {
      if (any.type_url().starts_with(kDetailPrefix)) {
        result.SetPayload(any.type_url(), absl::Cord(any.value()));
      }
    }
  }
  return result;
}

}  // namespace tributary::rpc
