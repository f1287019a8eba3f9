#pragma once

// absl::Status, which every API of ours uses, to and from grpc::Status. An
// ErrorInfo (google.rpc.ErrorInfo) travels in both: machine-readable reason and
// metadata beside the message for people.

#include <grpcpp/support/status.h>

#include <map>
#include <optional>
#include <string>

#include "common/base/status.h"

namespace tributary::rpc {

// The domain of every reason of ours.
inline constexpr char kErrorDomain[] = "tributary";

// Reasons (google.rpc.ErrorInfo.reason) that a caller may act on.
inline constexpr char kWriteOffsetMismatch[] = "WRITE_OFFSET_MISMATCH";
inline constexpr char kDigestMismatch[] = "DIGEST_MISMATCH";
inline constexpr char kReleaseWithdrawn[] = "RELEASE_WITHDRAWN";
inline constexpr char kNoRelease[] = "NO_RELEASE";
inline constexpr char kStaleAnchor[] = "STALE_ANCHOR";
inline constexpr char kRevoked[] = "REVOKED";
inline constexpr char kQuota[] = "QUOTA";
inline constexpr char kLowDisk[] = "LOW_DISK";
inline constexpr char kTooManyStreams[] = "TOO_MANY_STREAMS";
// Metadata key of kWriteOffsetMismatch: where to continue, in bytes.
inline constexpr char kCommittedSizeKey[] = "committed_size";

struct ErrorInfo {
  std::string reason;
  std::map<std::string, std::string> metadata;
};

// The same error with `info` as its payload. `status` must not be OK.
Status WithErrorInfo(Status status, const ErrorInfo& info);

// The payload of an error that has one.
std::optional<ErrorInfo> GetErrorInfo(const Status& status);

// True for an error whose ErrorInfo has this reason.
bool HasReason(const Status& status, std::string_view reason);

// Codes map one to one; payloads of package google.rpc become details of a
// google.rpc.Status.
grpc::Status ToGrpcStatus(const Status& status);

// The inverse. UNAVAILABLE from a failed TLS handshake says what to check.
Status FromGrpcStatus(const grpc::Status& status);

}  // namespace tributary::rpc
