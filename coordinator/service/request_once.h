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

// What RunOnce kept of a message. DATA_LOSS: the bytes are no such message.
template <typename Message>
Status RestoreAnswer(const std::string& bytes, Message& message) {
  return message.ParseFromString(bytes)
             ? absl::OkStatus()
             : DataLoss("the stored answer to this request is damaged");
}

// RunOnce for what answers with a message that holds no secret: `mutate` takes
// the transaction and returns StatusOr<Message>.
template <typename Message, typename Mutate>
Status AnswerOnce(const Core& core, const RequestKey& key, Message& answer,
                  const Mutate& mutate) {
  ASSIGN_OR_RETURN(
      const std::string bytes,
      RunOnce(core, key,
              [&](Transaction& transaction) -> StatusOr<std::string> {
                ASSIGN_OR_RETURN(const Message message, mutate(transaction));
                return message.SerializeAsString();
              }));
  return RestoreAnswer(bytes, answer);
}

}  // namespace tributary::coordinator
