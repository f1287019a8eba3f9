#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string_view>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/rpc/error_details.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/call_log.h"
#include "coordinator/service/service_context.h"

namespace tributary::coordinator {

// The frame of every unary RPC: runs `body`, which returns a Status, gives
// errors their details, records the call and converts. `method`:
// "AuditService.GetCheckpoint".
template <typename Body>
grpc::Status Serve(const ServiceContext& context,
                   const grpc::ServerContext& call, std::string_view method,
                   const google::protobuf::Message& request, Body&& body) {
  const double start_s = SystemClock().MonotonicSeconds();
  const Status status = rpc::WithDetails(body(), &request);
  context.calls.Record({.method = method,
                        .caller = PeerUri(call),
                        .seconds = SystemClock().MonotonicSeconds() - start_s},
                       status);
  return rpc::ToGrpcStatus(status);
}

}  // namespace tributary::coordinator
