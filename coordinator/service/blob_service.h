#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "coordinator/service/authorisation.h"
#include "coordinator/service/service_context.h"
#include "tributary/v1/blob.grpc.pb.h"

namespace tributary::coordinator {

// Write and Read are callbacks over raw buffers: their bytes are not copied
// into protobuf messages, and an open stream holds no thread.
class BlobServiceImpl final
    : public v1::BlobService::WithRawCallbackMethod_Write<
          v1::BlobService::WithRawCallbackMethod_Read<
              v1::BlobService::Service>> {
 public:
  explicit BlobServiceImpl(const ServiceContext& context) : context_(context) {}

  grpc::ServerReadReactor<grpc::ByteBuffer>* Write(
      grpc::CallbackServerContext* call, grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Read(
      grpc::CallbackServerContext* call,
      const grpc::ByteBuffer* request) override;
  grpc::Status QueryWriteStatus(
      grpc::ServerContext* call, const v1::QueryWriteStatusRequest* request,
      v1::QueryWriteStatusResponse* response) override;
  grpc::Status FindMissingBlobs(
      grpc::ServerContext* call, const v1::FindMissingBlobsRequest* request,
      v1::FindMissingBlobsResponse* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace tributary::coordinator
