#include "coordinator/service/blob_service.h"

#include "common/manifest/resource_name.h"
#include "common/rpc/blob_stream.h"
#include "coordinator/service/download_stream.h"
#include "coordinator/service/serve.h"
#include "coordinator/service/upload_stream.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;

// The caller's contribution, in any state.
StatusOr<ContributionRow> OwnContribution(Transaction& transaction,
                                          const Caller& caller,
                                          const std::string& id) {
  const auto row = ContributionStore(transaction).Find(id);
  if (!row || row->contributor != caller.id) {
    return NotFound("contributions/{}: you have no such contribution", id);
  }
  return *row;
}

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* BlobServiceImpl::Write(
    grpc::CallbackServerContext* call, grpc::ByteBuffer* response) {
  return StartUpload(context_, *call, *response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* BlobServiceImpl::Read(
    grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) {
  return StartDownload(context_, *call, *request);
}

grpc::Status BlobServiceImpl::QueryWriteStatus(
    grpc::ServerContext* call, const v1::QueryWriteStatusRequest* request,
    v1::QueryWriteStatusResponse* response) {
  return Serve(context_, *call, "BlobService.QueryWriteStatus", *request,
               [&]() -> Status {
                 ASSIGN_OR_RETURN(const Caller caller,
                                  RequireContributor(context_.core, *call));
                 ASSIGN_OR_RETURN(const BlobName blob,
                                  BlobName::Parse(request->resource_name()));
                 ASSIGN_OR_RETURN(const std::string id,
                                  ParseResourceName(Collection::kContributions,
                                                    request->contribution()));
                 return context_.core.database.Transact(
                     [&](Transaction& transaction) -> Status {
                       RETURN_IF_ERROR(
                           OwnContribution(transaction, caller, id).status());
                       const auto upload =
                           UploadStore(transaction).Find(id, blob.ToString());
                       if (!upload) {
                         return NotFound(
                             "{}: nothing was uploaded for contributions/{}",
                             blob.ToString(), id);
                       }
                       response->set_committed_size(upload->committed_size);
                       response->set_complete(upload->complete);
                       response->set_expire_time_s(
                           upload->complete ? 0 : upload->expire_time_s);
                       return absl::OkStatus();
                     });
               });
}

grpc::Status BlobServiceImpl::FindMissingBlobs(
    grpc::ServerContext* call, const v1::FindMissingBlobsRequest* request,
    v1::FindMissingBlobsResponse* response) {
  return Serve(
      context_, *call, "BlobService.FindMissingBlobs", *request,
      [&]() -> Status {
        ASSIGN_OR_RETURN(const Caller caller,
                         RequireContributor(context_.core, *call));
        if (request->blobs_size() > rpc::kMaxBlobNames) {
          return InvalidArgument("blobs: got {} names, wanted at most {}",
                                 request->blobs_size(), rpc::kMaxBlobNames);
        }
        ASSIGN_OR_RETURN(const std::string id,
                         ParseResourceName(Collection::kContributions,
                                           request->contribution()));
        return context_.core.database.Transact(
            [&](Transaction& transaction) -> Status {
              RETURN_IF_ERROR(
                  OwnContribution(transaction, caller, id).status());
              for (const std::string& blob : request->blobs()) {
                RETURN_IF_ERROR(BlobName::Parse(blob).status());
                if (!UploadStore(transaction).HasComplete(caller.id, blob)) {
                  response->add_missing_blobs(blob);
                }
              }
              return absl::OkStatus();
            });
      });
}

}  // namespace tributary::coordinator
