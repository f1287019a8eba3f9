#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "coordinator/service/service_context.h"

namespace tributary::coordinator {

// The server's side of one BlobService.Write. Messages are received as buffers
// and handed to the work pool, which checks, writes and hashes them; at most
// two wait, and reading stops until there is room. The stream ends by its
// client, by a newer stream, by standing still, by revocation or by drain; what
// had arrived is made durable first.
grpc::ServerReadReactor<grpc::ByteBuffer>* StartUpload(
    const ServiceContext& context, grpc::CallbackServerContext& call,
    grpc::ByteBuffer& response);

}  // namespace tributary::coordinator
