// The operator's calls about those who read anchors and releases only.

#include "common/manifest/resource_name.h"
#include "coordinator/service/admin_actions.h"
#include "coordinator/service/admin_service.h"
#include "coordinator/service/certificates.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/service/trust_service.h"
#include "coordinator/storage/reader_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;
using manifest::ResourceName;

constexpr int64_t kDefaultLifetimeS = 90 * crypto::kDaySeconds;
constexpr int64_t kLongestLifetimeS = 365 * crypto::kDaySeconds;

v1::RevokedReader ToProto(const RevokedReaderRow& row) {
  v1::RevokedReader out;
  out.set_name(ResourceName(Collection::kReaders, row.id));
  out.set_revoke_time_s(row.revoke_time_s);
  return out;
}

}  // namespace

Status AdminServiceImpl::IssueReaderCertificate(
    grpc::ServerContext& call, const v1::IssueReaderCertificateRequest& request,
    v1::ReaderCertificate& response) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, call));
  ASSIGN_OR_RETURN(const std::string id,
                   ParseResourceName(Collection::kReaders, request.name()));
  if (request.lifetime_s() < 0 || request.lifetime_s() > kLongestLifetimeS) {
    return InvalidArgument("lifetime_s: got {}, wanted 1 to {}, or 0 for {}",
                           request.lifetime_s(), kLongestLifetimeS,
                           kDefaultLifetimeS);
  }
  const int64_t lifetime_s =
      request.lifetime_s() > 0 ? request.lifetime_s() : kDefaultLifetimeS;
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  return AnswerOnce(
      core, key, response,
      [&](Transaction& transaction) -> StatusOr<v1::ReaderCertificate> {
        ASSIGN_OR_RETURN(
            const crypto::Certificate certificate,
            IssueReader(
                context_, transaction, caller,
                {.id = id,
                 .request_pem = request.certificate_signing_request_pem(),
                 .lifetime_s = lifetime_s}));
        v1::ReaderCertificate answer;
        answer.set_name(ResourceName(Collection::kReaders, id));
        answer.set_certificate_pem(certificate.ToPem());
        answer.set_expire_time_s(certificate.not_after_s());
        *answer.mutable_trust() = BundleOf(*context_.trust.keys());
        answer.set_federation(core.settings.federation);
        answer.set_address(context_.public_address);
        return answer;
      });
}

grpc::Status AdminServiceImpl::IssueReaderCertificate(
    grpc::ServerContext* call, const v1::IssueReaderCertificateRequest* request,
    v1::ReaderCertificate* response) {
  return Serve(
      context_, *call, "AdminService.IssueReaderCertificate", *request,
      [&] { return IssueReaderCertificate(*call, *request, *response); });
}

grpc::Status AdminServiceImpl::RevokeReader(
    grpc::ServerContext* call, const v1::RevokeReaderRequest* request,
    v1::RevokedReader* response) {
  return Serve(
      context_, *call, "AdminService.RevokeReader", *request, [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, *call));
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kReaders, request->name()));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        RETURN_IF_ERROR(AnswerOnce(
            core, key, *response,
            [&](Transaction& transaction) -> StatusOr<v1::RevokedReader> {
              ASSIGN_OR_RETURN(
                  const RevokedReaderRow row,
                  coordinator::RevokeReader(core, transaction, caller, id));
              return ToProto(row);
            }));
        context_.streams.EndStreamsOf(
            UriOf({.federation = core.settings.federation,
                   .role = rpc::PeerRole::kReader,
                   .id = id}),
            rpc::WithErrorInfo(PermissionDenied("readers/{} is revoked", id),
                               {.reason = rpc::kRevoked}));
        return absl::OkStatus();
      });
}

grpc::Status AdminServiceImpl::ListRevokedReaders(
    grpc::ServerContext* call, const v1::ListRevokedReadersRequest* request,
    v1::ListRevokedReadersResponse* response) {
  return Serve(
      context_, *call, "AdminService.ListRevokedReaders", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        RETURN_IF_ERROR(RequireOperator(core, *call).status());
        ASSIGN_OR_RETURN(const Page page,
                         ParsePage(request->page_size(), request->page_token(),
                                   "revoked readers"));
        return core.database.Transact([&](Transaction& transaction) {
          const std::vector<RevokedReaderRow> rows =
              ReaderStore(transaction).ListRevoked(page.after, page.size);
          for (const RevokedReaderRow& row : rows) {
            *response->add_readers() = ToProto(row);
          }
          if (static_cast<int64_t>(rows.size()) == page.size) {
            response->set_next_page_token(
                NextPageToken("revoked readers", rows.back().id));
          }
          return absl::OkStatus();
        });
      });
}

}  // namespace tributary::coordinator
