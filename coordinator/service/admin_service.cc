#include "coordinator/service/admin_service.h"

#include "common/crypto/digest.h"
#include "common/manifest/invitation.h"
#include "common/manifest/resource_name.h"
#include "common/manifest/spiffe.h"
#include "coordinator/release/anchor_import.h"
#include "coordinator/service/admin_actions.h"
#include "coordinator/service/certificates.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/request_store.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;

constexpr int64_t kDefaultInvitationS = 72 * 3600;
constexpr int64_t kLongestInvitationS = 30 * 24 * 3600;
constexpr size_t kMaxMissingBlobs = 100;
constexpr int64_t kMaxShownUploads = 100;

}  // namespace

Status AdminServiceImpl::CreateInvitation(
    grpc::ServerContext& call, const v1::CreateInvitationRequest& request,
    v1::CreateInvitationResponse& response) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, call));
  const std::string& contributor = request.contributor_id();
  RETURN_IF_ERROR(manifest::CheckId("contributor_id", contributor));
  if (request.lifetime_s() < 0 || request.lifetime_s() > kLongestInvitationS) {
    return InvalidArgument("lifetime_s: got {}, wanted at most {}",
                           request.lifetime_s(), kLongestInvitationS);
  }
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  const std::string secret =
      InvitationSecret(context_, request.request_id(), contributor);
  const std::string secret_sha256 = crypto::Sha256Hex(secret);
  const int64_t lifetime_s =
      request.lifetime_s() > 0 ? request.lifetime_s() : kDefaultInvitationS;
  ASSIGN_OR_RETURN(
      const std::string expire_time,
      RunOnce(core, key,
              [&](Transaction& transaction) -> StatusOr<std::string> {
                const int64_t expire_time_s = core.now_s() + lifetime_s;
                RETURN_IF_ERROR(RecordInvitation(core, transaction, caller,
                                                 contributor, secret_sha256,
                                                 expire_time_s));
                return std::to_string(expire_time_s);
              }));
  manifest::Invitation invitation;
  invitation.federation = core.settings.federation;
  invitation.contributor_id = contributor;
  invitation.address = context_.public_address;
  invitation.secret = secret;
  invitation.expire_time_s = std::stoll(expire_time);
  // The one that issued the server's certificate.
  const auto keys = context_.trust.keys();
  const crypto::Certificate& ca = keys->ca.certificate();
  invitation.ca_certificate_pem = ca.ToPem();
  invitation.ca_fingerprint = ca.fingerprint();
  ASSIGN_OR_RETURN(*response.mutable_invitation_json(), invitation.ToJson());
  return absl::OkStatus();
}

grpc::Status AdminServiceImpl::CreateInvitation(
    grpc::ServerContext* call, const v1::CreateInvitationRequest* request,
    v1::CreateInvitationResponse* response) {
  return Serve(context_, *call, "AdminService.CreateInvitation", *request,
               [&] { return CreateInvitation(*call, *request, *response); });
}

grpc::Status AdminServiceImpl::ListContributors(
    grpc::ServerContext* call, const v1::ListContributorsRequest* request,
    v1::ListContributorsResponse* response) {
  return Serve(
      context_, *call, "AdminService.ListContributors", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        RETURN_IF_ERROR(RequireOperator(core, *call).status());
        ASSIGN_OR_RETURN(const Page page,
                         ParsePage(request->page_size(), request->page_token(),
                                   "contributors"));
        return core.database.Transact([&](Transaction& transaction) {
          const std::vector<ContributorRow> rows =
              ContributorStore(transaction).List(page.after, page.size);
          for (const ContributorRow& row : rows) {
            *response->add_contributors() = ToProto(row);
          }
          if (static_cast<int64_t>(rows.size()) == page.size) {
            response->set_next_page_token(
                NextPageToken("contributors", rows.back().id));
          }
          return absl::OkStatus();
        });
      });
}

grpc::Status AdminServiceImpl::RevokeContributor(
    grpc::ServerContext* call, const v1::RevokeContributorRequest* request,
    v1::Contributor* response) {
  return Serve(
      context_, *call, "AdminService.RevokeContributor", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, *call));
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kContributors, request->name()));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        RETURN_IF_ERROR(
            RunOnce(core, key,
                    [&](Transaction& transaction) -> StatusOr<std::string> {
                      RETURN_IF_ERROR(Revoke(core, transaction, caller, id));
                      return id;
                    })
                .status());
        context_.streams.EndStreamsOf(
            manifest::Identity{.federation = core.settings.federation,
                               .role = manifest::Role::kContributor,
                               .id = id}
                .ToUri(),
            rpc::WithErrorInfo(
                PermissionDenied("contributors/{} is revoked", id),
                {.reason = rpc::kRevoked}));
        return core.database.Transact([&](Transaction& transaction) {
          *response = ToProto(*ContributorStore(transaction).Find(id));
          return absl::OkStatus();
        });
      });
}

grpc::Status AdminServiceImpl::BuildRelease(
    grpc::ServerContext* call, const v1::BuildReleaseRequest* request,
    v1::Release* response) {
  return Serve(
      context_, *call, "AdminService.BuildRelease", *request, [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, *call));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        ASSIGN_OR_RETURN(
            const std::string number,
            RunOnce(core, key,
                    [&](Transaction& transaction) -> StatusOr<std::string> {
                      ASSIGN_OR_RETURN(const int64_t created,
                                       CreateRelease(core, transaction, caller,
                                                     request->router_mode()));
                      return std::to_string(created);
                    }));
        context_.jobs.Wake();
        return core.database.Transact([&](Transaction& transaction) -> Status {
          ASSIGN_OR_RETURN(*response,
                           ReadRelease(transaction, std::stoll(number)));
          return absl::OkStatus();
        });
      });
}

Status AdminServiceImpl::PublishAnchor(
    grpc::ServerContext& call, const v1::PublishAnchorRequest& request,
    grpc::ServerWriter<v1::PublishAnchorEvent>& writer) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, call));
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  // An import takes minutes: an id that was used for something else is refused
  // before it. Importing the same again yields the same anchor.
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    return RequestStore(transaction).Find(key).status();
  }));
  AnchorSource source{.id = request.anchor_id(),
                      .model_directory = request.model_directory()};
  if (!source.model_directory.is_absolute()) {
    return InvalidArgument("model_directory: got '{}', wanted an absolute path",
                           request.model_directory());
  }
  for (const v1::PublicText& text : request.public_texts()) {
    source.public_texts.push_back({text.text_class(), text.path()});
  }
  CancellationToken cancellation;
  const auto progress = [&](double fraction, const std::string& message) {
    v1::PublishAnchorEvent event;
    event.set_fraction(fraction);
    event.set_message(message);
    if (!writer.Write(event) || context_.draining.IsCancelled()) {
      cancellation.Cancel();
    }
  };
  ASSIGN_OR_RETURN(
      const AnchorRow row,
      ImportAnchor(core, context_.runner, source, progress, cancellation));
  RETURN_IF_ERROR(RunOnce(core, key, [&](Transaction&) {
                    return StatusOr<std::string>(row.id);
                  }).status());
  v1::PublishAnchorEvent last;
  last.set_fraction(1);
  *last.mutable_anchor() = ToProto(row);
  writer.Write(last);
  return absl::OkStatus();
}

grpc::Status AdminServiceImpl::PublishAnchor(
    grpc::ServerContext* call, const v1::PublishAnchorRequest* request,
    grpc::ServerWriter<v1::PublishAnchorEvent>* writer) {
  return Serve(context_, *call, "AdminService.PublishAnchor", *request,
               [&] { return PublishAnchor(*call, *request, *writer); });
}

grpc::Status AdminServiceImpl::ListWithdrawals(
    grpc::ServerContext* call, const v1::ListWithdrawalsRequest* request,
    v1::ListWithdrawalsResponse* response) {
  return Serve(context_, *call, "AdminService.ListWithdrawals", *request,
               [&]() -> Status {
                 const Core& core = context_.core;
                 RETURN_IF_ERROR(RequireOperator(core, *call).status());
                 ASSIGN_OR_RETURN(
                     const Page page,
                     ParsePage(request->page_size(), request->page_token(),
                               "withdrawals"));
                 ASSIGN_OR_RETURN(const int64_t before, page.Before());
                 return core.database.Transact([&](Transaction& transaction) {
                   const std::vector<WithdrawalRow> rows =
                       WithdrawalStore(transaction).List(before, page.size);
                   for (const WithdrawalRow& row : rows) {
                     *response->add_withdrawals() = ToProto(row);
                   }
                   if (static_cast<int64_t>(rows.size()) == page.size) {
                     response->set_next_page_token(NextPageToken(
                         "withdrawals", std::to_string(rows.back().sequence)));
                   }
                   return absl::OkStatus();
                 });
               });
}

grpc::Status AdminServiceImpl::GetStatus(grpc::ServerContext* call,
                                         const v1::GetStatusRequest* request,
                                         v1::GetStatusResponse* response) {
  return Serve(
      context_, *call, "AdminService.GetStatus", *request, [&]() -> Status {
        const Core& core = context_.core;
        RETURN_IF_ERROR(RequireOperator(core, *call).status());
        response->set_federation(core.settings.federation);
        response->set_version(context_.version);
        ASSIGN_OR_RETURN(const std::vector<MissingBlob> missing,
                         core.catalog.FindMissing(kMaxMissingBlobs));
        for (const MissingBlob& blob : missing) {
          response->add_missing_blobs(blob.name.ToString());
        }
        return core.database.Transact([&](Transaction& transaction) {
          for (const JobRow& row : JobStore(transaction).List()) {
            v1::Job& job = *response->add_jobs();
            job.set_id(row.id());
            job.set_kind(std::string(ToString(row.kind)));
            job.set_subject(row.subject);
            job.set_state(row.running ? "RUNNING" : "QUEUED");
            job.set_attempts(row.attempts);
            job.set_due_time_s(row.due_time_s);
          }
          response->set_contributors(ContributorStore(transaction).Count());
          response->set_accepted_contributions(
              ContributionStore(transaction).CountAccepted());
          if (const auto latest = ReleaseStore(transaction).Latest()) {
            response->set_latest_release(manifest::ReleaseName(latest->number));
          }
          response->set_blob_bytes(BlobTable(transaction).TotalBytes());
          const manifest::Chain head = AuditLog(transaction).Head();
          response->set_audit_records(head.size());
          response->set_audit_head_hash(head.size() > 0 ? head.head_hash()
                                                        : "");
          response->set_time_s(core.now_s());
          for (const UploadRow& row :
               UploadStore(transaction).ListUnfinished(kMaxShownUploads)) {
            v1::UploadProgress& upload = *response->add_uploads();
            upload.set_contribution(manifest::ResourceName(
                Collection::kContributions, row.contribution));
            upload.set_blob(row.blob);
            upload.set_size_bytes(row.size_bytes);
            upload.set_committed_bytes(row.committed_size);
            upload.set_expire_time_s(row.expire_time_s);
          }
          return absl::OkStatus();
        });
      });
}

}  // namespace tributary::coordinator
