#pragma once

#include <grpcpp/support/status.h>

#include "common/base/log.h"
#include "common/base/status.h"
#include "common/rpc/status_conversion.h"

namespace tributary::coordinator {

// The frame of every RPC: runs `body`, which returns a Status, logs what is a
// fault of this side, and converts.
template <typename Body>
grpc::Status Serve(const char* method, Body&& body) {
  const Status status = body();
  if (absl::IsInternal(status) || absl::IsDataLoss(status)) {
    log::Error("{}: {}", method, status.ToString());
  }
  return rpc::ToGrpcStatus(status);
}

}  // namespace tributary::coordinator
