#pragma once

// Mutating requests that can be repeated: the same request_id and body give the
// same result and change nothing more.

#include <google/protobuf/message.h>

#include <functional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/request_store.h"

namespace tributary::coordinator {

// INVALID_ARGUMENT unless `request_id` is a UUID in lower case.
Status CheckRequestId(std::string_view request_id);

// The key under which a request's answer is kept. INVALID_ARGUMENT as above.
StatusOr<RequestKey> KeyOf(const std::string& caller,
                           const std::string& request_id,
                           const google::protobuf::Message& request);

// Runs `mutate` in one transaction, unless this request was answered before.
// What it returns is kept (a resource's name or id, never a secret) and
// returned again to repeats. INVALID_ARGUMENT: the id was used for another
// request.
StatusOr<std::string> RunOnce(
    const Core& core, const RequestKey& key,
    const std::function<StatusOr<std::string>(Transaction&)>& mutate);

}  // namespace tributary::coordinator
