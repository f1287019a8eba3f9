#include "common/rpc/error_details.h"

#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "common/rpc/status_conversion.h"
#include "google/protobuf/descriptor.h"
#include "google/rpc/error_details.pb.h"

namespace tributary::rpc {
namespace {

constexpr size_t kMaxPrefix = 256;

template <typename Detail>
void Attach(const Detail& detail, Status& status) {
  status.SetPayload("type.googleapis.com/" + detail.GetTypeName(),
                    absl::Cord(detail.SerializeAsString()));
}

// What stands before the first colon, without its last index: "a.b" of
// "a.b: got". Empty when there is no such thing.
std::string_view Prefix(std::string_view message) {
  const size_t colon = message.find(": ");
  return colon == message.npos || colon > kMaxPrefix ? std::string_view()
                                                     : message.substr(0, colon);
}

// Whether `path` ("evaluations.model") is a field of messages of this type.
bool IsField(const google::protobuf::Descriptor* type, std::string_view path) {
  while (type != nullptr) {
    const size_t dot = path.find('.');
    const auto* field = type->FindFieldByName(std::string(path.substr(0, dot)));
    if (field == nullptr) {
      return false;
    }
    if (dot == path.npos) {
      return true;
    }
    path.remove_prefix(dot + 1);
    type = field->message_type();
  }
  return false;
}

// The field of `type` that an error beginning with `prefix` is about; empty for
// none. Parsers of names say "name" and "blob name", whatever a request calls
// the field.
std::string FieldOf(const google::protobuf::Descriptor* type,
                    std::string_view prefix) {
  if (IsField(type, prefix)) {
    return std::string(prefix);
  }
  struct Alias {
    std::string_view prefix;
    const char* field;
  };
  constexpr Alias kAliases[] = {{"name", "contribution"},
                                {"name", "release"},
                                {"blob name", "resource_name"},
                                {"blob name", "blobs"}};
  for (const Alias& alias : kAliases) {
    if (alias.prefix == prefix && type->FindFieldByName(alias.field)) {
      return alias.field;
    }
  }
  return "";
}

// "contributions/a" gives "tributary.v1/Contribution".
std::string ResourceType(std::string_view name) {
  struct Kind {
    std::string_view collection;
    std::string_view type;
  };
  constexpr Kind kKinds[] = {{"anchors/", "tributary.v1/Anchor"},
                             {"blobs/", "tributary.v1/Blob"},
                             {"contributions/", "tributary.v1/Contribution"},
                             {"contributors/", "tributary.v1/Contributor"},
                             {"invitations/", "tributary.v1/Invitation"},
                             {"readers/", "tributary.v1/RevokedReader"},
                             {"releases/", "tributary.v1/Release"},
                             {"withdrawals/", "tributary.v1/Withdrawal"}};
  for (const Kind& kind : kKinds) {
    if (name.substr(0, kind.collection.size()) == kind.collection &&
        name.find(' ') == name.npos) {
      return std::string(kind.type);
    }
  }
  return "";
}

// Seconds after which the same call may succeed; 0: time does not help.
int RetrySeconds(const Status& status) {
  if (absl::IsUnavailable(status)) {
    return 1;
  }
  if (HasReason(status, kLowDisk)) {
    return 60;
  }
  return HasReason(status, kTooManyStreams) ? 5 : 0;
}

}  // namespace

Status WithDetails(const Status& status,
                   const google::protobuf::Message* request) {
  if (status.ok()) {
    return status;
  }
  Status detailed = status;
  if (!GetErrorInfo(status)) {
    detailed = WithErrorInfo(
        detailed, {.reason = absl::StatusCodeToString(status.code())});
  }
  const std::string_view message(status.message().data(),
                                 status.message().size());
  const std::string_view prefix = Prefix(message);
  const bool about_request =
      absl::IsInvalidArgument(status) || absl::IsOutOfRange(status);
  const std::string field = about_request && request != nullptr
                                ? FieldOf(request->GetDescriptor(), prefix)
                                : "";
  if (!field.empty()) {
    google::rpc::BadRequest detail;
    auto& violation = *detail.add_field_violations();
    violation.set_field(field);
    violation.set_description(std::string(message.substr(prefix.size() + 2)));
    Attach(detail, detailed);
  }
  if (const std::string type = ResourceType(prefix); !type.empty()) {
    google::rpc::ResourceInfo detail;
    detail.set_resource_type(type);
    detail.set_resource_name(std::string(prefix));
    detail.set_description(std::string(message.substr(prefix.size() + 2)));
    Attach(detail, detailed);
  }
  if (const int seconds = RetrySeconds(detailed); seconds > 0) {
    google::rpc::RetryInfo detail;
    detail.mutable_retry_delay()->set_seconds(seconds);
    Attach(detail, detailed);
  }
  return detailed;
}

}  // namespace tributary::rpc
