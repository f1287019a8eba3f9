// The operator's calls about invitations, and the collection of what nobody
// needs.

#include "common/manifest/resource_name.h"
#include "coordinator/service/admin_actions.h"
#include "coordinator/service/admin_service.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/storage/contributor_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;
using manifest::ResourceName;

v1::Invitation ToProto(const InvitationRow& row) {
  v1::Invitation out;
  out.set_name(ResourceName(Collection::kInvitations, row.contributor));
  out.set_contributor(ResourceName(Collection::kContributors, row.contributor));
  out.set_create_time_s(row.create_time_s);
  out.set_expire_time_s(row.expire_time_s);
  return out;
}

}  // namespace

grpc::Status AdminServiceImpl::ListInvitations(
    grpc::ServerContext* call, const v1::ListInvitationsRequest* request,
    v1::ListInvitationsResponse* response) {
  return Serve(
      context_, *call, "AdminService.ListInvitations", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        RETURN_IF_ERROR(RequireOperator(core, *call).status());
        ASSIGN_OR_RETURN(const Page page,
                         ParsePage(request->page_size(), request->page_token(),
                                   "invitations"));
        return core.database.Transact([&](Transaction& transaction) {
          const std::vector<InvitationRow> rows =
              ContributorStore(transaction)
                  .ListOpenInvitations(page.after, core.now_s(), page.size);
          for (const InvitationRow& row : rows) {
            *response->add_invitations() = ToProto(row);
          }
          if (static_cast<int64_t>(rows.size()) == page.size) {
            response->set_next_page_token(
                NextPageToken("invitations", rows.back().contributor));
          }
          return absl::OkStatus();
        });
      });
}

grpc::Status AdminServiceImpl::DeleteInvitation(
    grpc::ServerContext* call, const v1::DeleteInvitationRequest* request,
    v1::Invitation* response) {
  return Serve(
      context_, *call, "AdminService.DeleteInvitation", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, *call));
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kInvitations, request->name()));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        return AnswerOnce(
            core, key, *response,
            [&](Transaction& transaction) -> StatusOr<v1::Invitation> {
              ASSIGN_OR_RETURN(
                  const InvitationRow row,
                  TakeInvitationBack(core, transaction, caller, id));
              return ToProto(row);
            });
      });
}

Status AdminServiceImpl::CollectGarbage(
    grpc::ServerContext& call, const v1::CollectGarbageRequest& request,
    v1::CollectGarbageResponse& response) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, call));
  std::optional<RequestKey> key;
  if (!request.request_id().empty()) {
    ASSIGN_OR_RETURN(key, KeyOf(caller.uri, request.request_id(), request));
    std::optional<std::string> stored;
    RETURN_IF_ERROR(
        core.database.Transact([&](Transaction& transaction) -> Status {
          ASSIGN_OR_RETURN(stored, RequestStore(transaction).Find(*key));
          return absl::OkStatus();
        }));
    if (stored) {
      return RestoreAnswer(*stored, response);
    }
  }
  ASSIGN_OR_RETURN(const CollectionReport report, core.catalog.Collect());
  response.set_deleted_blobs(report.deleted_blobs);
  response.set_deleted_bytes(report.deleted_bytes);
  response.set_deleted_uploads(report.deleted_uploads);
  if (!key) {
    return absl::OkStatus();
  }
  return AnswerOnce(core, *key, response, [&](Transaction&) {
    return StatusOr<v1::CollectGarbageResponse>(response);
  });
}

grpc::Status AdminServiceImpl::CollectGarbage(
    grpc::ServerContext* call, const v1::CollectGarbageRequest* request,
    v1::CollectGarbageResponse* response) {
  return Serve(context_, *call, "AdminService.CollectGarbage", *request,
               [&] { return CollectGarbage(*call, *request, *response); });
}

}  // namespace tributary::coordinator
