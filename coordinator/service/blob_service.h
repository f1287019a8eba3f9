#pragma once

#include "coordinator/service/authorisation.h"
#include "coordinator/service/service_context.h"
#include "tributary/v1/blob.grpc.pb.h"

namespace tributary::coordinator {

class BlobServiceImpl final : public v1::BlobService::Service {
 public:
  explicit BlobServiceImpl(const ServiceContext& context) : context_(context) {}

  grpc::Status Write(grpc::ServerContext* call,
                     grpc::ServerReader<v1::WriteRequest>* reader,
                     v1::WriteResponse* response) override;
  grpc::Status QueryWriteStatus(
      grpc::ServerContext* call, const v1::QueryWriteStatusRequest* request,
      v1::QueryWriteStatusResponse* response) override;
  grpc::Status Read(grpc::ServerContext* call, const v1::ReadRequest* request,
                    grpc::ServerWriter<v1::ReadResponse>* writer) override;
  grpc::Status FindMissingBlobs(
      grpc::ServerContext* call, const v1::FindMissingBlobsRequest* request,
      v1::FindMissingBlobsResponse* response) override;

 private:
  Status Write(grpc::ServerContext& call,
               grpc::ServerReader<v1::WriteRequest>& reader,
               v1::WriteResponse& response);
  Status Read(grpc::ServerContext& call, const v1::ReadRequest& request,
              grpc::ServerWriter<v1::ReadResponse>& writer);
  // NOT_FOUND unless the caller may read the blob now.
  Status CheckReadable(const Caller& caller, const BlobName& name);

  const ServiceContext& context_;
};

}  // namespace tributary::coordinator
