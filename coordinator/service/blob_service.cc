#include "coordinator/service/blob_service.h"

#include <algorithm>
#include <span>

#include "common/manifest/resource_name.h"
#include "common/rpc/blob_stream.h"
#include "coordinator/service/serve.h"
#include "coordinator/service/upload_session.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/release_store.h"

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

Status CheckChunk(const v1::WriteRequest& message) {
  if (static_cast<int64_t>(message.data().size()) > rpc::kMaxChunkBytes) {
    return InvalidArgument("data: got {} bytes, wanted at most {}",
                           message.data().size(), rpc::kMaxChunkBytes);
  }
  return absl::OkStatus();
}

// Whether something that keeps the blob lets this caller read it.
bool OwnerIsReadable(Transaction& transaction, const Caller& caller,
                     const std::string& owner) {
  if (owner.rfind("anchors/", 0) == 0) {
    return true;
  }
  ReleaseStore releases(transaction);
  if (const auto number = manifest::ParseReleaseName(owner); number.ok()) {
    const auto release = releases.Find(*number);
    return release && release->served();
  }
  const auto id = ParseResourceName(Collection::kContributions, owner);
  if (!id.ok()) {
    return false;
  }
  const auto row = ContributionStore(transaction).Find(*id);
  if (!row || row->state == ContributionState::kWithdrawn ||
      row->state == ContributionState::kPurged) {
    return false;
  }
  if (row->contributor == caller.id && !caller.is_operator()) {
    return true;
  }
  for (const ReleaseRow& release : releases.ListHolding(*id)) {
    if (release.served()) {
      return true;
    }
  }
  return false;
}

}  // namespace

Status BlobServiceImpl::Write(grpc::ServerContext& call,
                              grpc::ServerReader<v1::WriteRequest>& reader,
                              v1::WriteResponse& response) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, call));
  v1::WriteRequest message;
  if (!reader.Read(&message)) {
    return InvalidArgument("the stream has no message");
  }
  UploadSession::Target target{.contributor = caller.id,
                               .cancel = [&call] { call.TryCancel(); }};
  ASSIGN_OR_RETURN(target.blob, BlobName::Parse(message.resource_name()));
  ASSIGN_OR_RETURN(
      target.contribution,
      ParseResourceName(Collection::kContributions, message.contribution()));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<UploadSession> session,
      UploadSession::Open(core, context_.uploads, std::move(target)));
  if (session->complete()) {
    response.set_committed_size(session->committed_size());
    return absl::OkStatus();
  }
  bool finished = false;
  do {
    Status status = CheckChunk(message);
    if (status.ok() && message.write_offset() != session->offset()) {
      RETURN_IF_ERROR(session->Commit());
      return OffsetMismatch(message.write_offset(), session->committed_size());
    }
    if (status.ok()) {
      status = session->Append(message.data());
    }
    if (!status.ok()) {
      // What was good before it stays.
      session->Commit().IgnoreError();
      return status;
    }
    finished = message.finish_write();
  } while (!finished && reader.Read(&message));
  if (finished) {
    RETURN_IF_ERROR(session->Finish());
  } else {
    RETURN_IF_ERROR(session->Commit());
  }
  response.set_committed_size(session->committed_size());
  return absl::OkStatus();
}

grpc::Status BlobServiceImpl::Write(
    grpc::ServerContext* call, grpc::ServerReader<v1::WriteRequest>* reader,
    v1::WriteResponse* response) {
  return Serve("Write", [&] { return Write(*call, *reader, *response); });
}

grpc::Status BlobServiceImpl::QueryWriteStatus(
    grpc::ServerContext* call, const v1::QueryWriteStatusRequest* request,
    v1::QueryWriteStatusResponse* response) {
  return Serve("QueryWriteStatus", [&]() -> Status {
    ASSIGN_OR_RETURN(const Caller caller,
                     RequireContributor(context_.core, *call));
    ASSIGN_OR_RETURN(const BlobName blob,
                     BlobName::Parse(request->resource_name()));
    ASSIGN_OR_RETURN(
        const std::string id,
        ParseResourceName(Collection::kContributions, request->contribution()));
    return context_.core.database.Transact([&](Transaction& transaction)
                                               -> Status {
      RETURN_IF_ERROR(OwnContribution(transaction, caller, id).status());
      const auto upload = UploadStore(transaction).Find(id, blob.ToString());
      if (!upload) {
        return NotFound("{}: nothing was uploaded for contributions/{}",
                        blob.ToString(), id);
      }
      response->set_committed_size(upload->committed_size);
      response->set_complete(upload->complete);
      response->set_expire_time_s(upload->complete ? 0 : upload->expire_time_s);
      return absl::OkStatus();
    });
  });
}

Status BlobServiceImpl::CheckReadable(const Caller& caller,
                                      const BlobName& name) {
  return context_.core.database.Transact(
      [&](Transaction& transaction) -> Status {
        for (const std::string& owner : BlobTable(transaction).OwnersOf(name)) {
          if (OwnerIsReadable(transaction, caller, owner)) {
            return absl::OkStatus();
          }
        }
        return NotFound("{}: no such blob", name.ToString());
      });
}

Status BlobServiceImpl::Read(grpc::ServerContext& call,
                             const v1::ReadRequest& request,
                             grpc::ServerWriter<v1::ReadResponse>& writer) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireReader(core, call));
  ASSIGN_OR_RETURN(const BlobName name,
                   BlobName::Parse(request.resource_name()));
  uint64_t seen = core.database.changes();
  RETURN_IF_ERROR(CheckReadable(caller, name));
  ASSIGN_OR_RETURN(const auto reader, core.catalog.store().OpenReader(name));
  if (request.read_offset() < 0 ||
      static_cast<uint64_t>(request.read_offset()) > name.size) {
    return OutOfRange("read_offset: got {}, the blob has {} bytes",
                      request.read_offset(), name.size);
  }
  v1::ReadResponse chunk;
  uint64_t offset = static_cast<uint64_t>(request.read_offset());
  while (offset < name.size) {
    // A withdrawal or revocation ends downloads that run, too.
    if (const uint64_t now = core.database.changes(); now != seen) {
      seen = now;
      RETURN_IF_ERROR(RequireReader(core, call).status());
      RETURN_IF_ERROR(CheckReadable(caller, name));
    }
    std::string& data = *chunk.mutable_data();
    data.resize(std::min<uint64_t>(rpc::kMaxChunkBytes, name.size - offset));
    ASSIGN_OR_RETURN(const size_t got,
                     reader->Read(offset, std::span<char>(data)));
    if (got != data.size()) {
      return DataLoss("{}: the stored file ends at {}", name.ToString(),
                      offset + got);
    }
    if (!writer.Write(chunk)) {
      return absl::CancelledError("the reader has gone");
    }
    offset += got;
  }
  return absl::OkStatus();
}

grpc::Status BlobServiceImpl::Read(
    grpc::ServerContext* call, const v1::ReadRequest* request,
    grpc::ServerWriter<v1::ReadResponse>* writer) {
  return Serve("Read", [&] { return Read(*call, *request, *writer); });
}

grpc::Status BlobServiceImpl::FindMissingBlobs(
    grpc::ServerContext* call, const v1::FindMissingBlobsRequest* request,
    v1::FindMissingBlobsResponse* response) {
  return Serve("FindMissingBlobs", [&]() -> Status {
    ASSIGN_OR_RETURN(const Caller caller,
                     RequireContributor(context_.core, *call));
    if (request->blobs_size() > rpc::kMaxBlobNames) {
      return InvalidArgument("blobs: got {} names, wanted at most {}",
                             request->blobs_size(), rpc::kMaxBlobNames);
    }
    ASSIGN_OR_RETURN(
        const std::string id,
        ParseResourceName(Collection::kContributions, request->contribution()));
    return context_.core.database.Transact(
        [&](Transaction& transaction) -> Status {
          RETURN_IF_ERROR(OwnContribution(transaction, caller, id).status());
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
