#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "coordinator/service/service_context.h"

namespace tributary::coordinator {

// The server's side of one BlobService.Read: the work pool reads one piece
// while the one before it is sent, so a slow reader holds two pieces and no
// thread. Ends, like an upload, when it stands still, at revocation and when
// the blob may not be read any more.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDownload(
    const ServiceContext& context, grpc::CallbackServerContext& call,
    const grpc::ByteBuffer& request);

}  // namespace tributary::coordinator
