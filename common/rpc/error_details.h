#pragma once

// The details of google.rpc that go with every error of the public API, beside
// the message for people (AIP-193).

#include <google/protobuf/message.h>

#include "common/base/status.h"

namespace tributary::rpc {

// The same error with what can be told about it by machine:
// - ErrorInfo always: a reason of its own, or the name of the code;
// - BadRequest for INVALID_ARGUMENT and OUT_OF_RANGE whose message begins with
//   a field of `request` and a colon, or with "name" or "blob name" where the
//   request has one field for it;
// - ResourceInfo for errors whose message begins with a resource name and a
//   colon, such as "contributions/a: ...";
// - RetryInfo for UNAVAILABLE, ABORTED without a takeover and quotas that time
//   mends.
// `request` may be null. An OK status stays as it is.
Status WithDetails(const Status& status,
                   const google::protobuf::Message* request);

}  // namespace tributary::rpc
