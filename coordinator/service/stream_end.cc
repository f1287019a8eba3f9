#include "coordinator/service/stream_end.h"

#include "common/rpc/error_details.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/call_log.h"

namespace tributary::coordinator {

StreamEnd::StreamEnd(const ServiceContext& context,
                     const grpc::CallbackServerContext& call,
                     std::string_view method,
                     const google::protobuf::Message& request)
    : context_(context),
      method_(method),
      request_(request),
      caller_(PeerUri(call)),
      start_s_(SystemClock().MonotonicSeconds()) {}

grpc::Status StreamEnd::Convert(const Status& status) const {
  const Status detailed = rpc::WithDetails(status, &request_);
  context_.calls.Record({.method = method_,
                         .caller = caller_,
                         .seconds = SystemClock().MonotonicSeconds() - start_s_,
                         .bytes_received = bytes_received,
                         .bytes_sent = bytes_sent},
                        detailed);
  return rpc::ToGrpcStatus(detailed);
}

}  // namespace tributary::coordinator
