#include "common/base/exit_code.h"

#include <string>

#include "absl/strings/cord.h"

namespace tributary {

namespace {

constexpr char kExitCodePayload[] = "tributary/exit-code";

}  // namespace

Status WithExitCode(Status status, ExitCode code) {
  status.SetPayload(kExitCodePayload,
                    absl::Cord(std::to_string(static_cast<int>(code))));
  return status;
}

ExitCode ExitCodeFor(const Status& status) {
  if (const auto payload = status.GetPayload(kExitCodePayload)) {
    return static_cast<ExitCode>(std::stoi(std::string(*payload)));
  }
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnimplemented:
      return ExitCode::kInvalidInput;
    case absl::StatusCode::kNotFound:
      return ExitCode::kNotFound;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return ExitCode::kRefused;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
      return ExitCode::kFailedPrecondition;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return ExitCode::kResourceExhausted;
    case absl::StatusCode::kAborted:
      return ExitCode::kRejected;
    case absl::StatusCode::kCancelled:
      return ExitCode::kCancelled;
    default:
      return ExitCode::kInternal;
  }
}

}  // namespace tributary
