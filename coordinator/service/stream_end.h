#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "coordinator/service/service_context.h"

namespace tributary::coordinator {

// The end of a streaming RPC: its line in the log, its metrics, its status for
// the wire.
class StreamEnd {
 public:
  // `method`: "BlobService.Write". `request`: any message of its requests'
  // type, which errors about a field are held against.
  StreamEnd(const ServiceContext& context,
            const grpc::CallbackServerContext& call, std::string_view method,
            const google::protobuf::Message& request);

  uint64_t bytes_received = 0;
  uint64_t bytes_sent = 0;

  // Called once.
  grpc::Status Convert(const Status& status) const;

 private:
  const ServiceContext& context_;
  const std::string_view method_;
  const google::protobuf::Message& request_;
  const std::string caller_;
  const double start_s_;
};

}  // namespace tributary::coordinator
