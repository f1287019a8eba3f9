#include "coordinator/service/enrolment_service.h"

#include <nlohmann/json.hpp>

#include "common/base/text.h"
#include "common/crypto/digest.h"
#include "common/manifest/resource_name.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/certificates.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/service/trust_service.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ResourceName;

constexpr size_t kSecretBytes = 32;
// Calls of one source address and of all together.
constexpr Rate kEach{.burst = 30, .per_second = 5};
constexpr Rate kAll{.burst = 300, .per_second = 50};

// The invitation of a secret, if it can be used now.
StatusOr<InvitationRow> CheckInvitation(const Core& core,
                                        Transaction& transaction,
                                        const std::string& secret_sha256,
                                        const std::string& contributor) {
  const auto invitation =
      ContributorStore(transaction).FindInvitation(secret_sha256);
  if (!invitation || invitation->contributor != contributor) {
    return Unauthenticated(
        "the invitation is not known here; check that it is for this "
        "coordinator and contributors/{}, or ask the operator for a new one",
        contributor);
  }
  if (invitation->use_time_s) {
    return Unauthenticated(
        "the invitation for contributors/{} was used at {}; ask the operator "
        "for a new one",
        contributor, FormatTime(static_cast<double>(*invitation->use_time_s)));
  }
  if (invitation->expire_time_s < core.now_s()) {
    return Unauthenticated(
        "the invitation for contributors/{} expired at {}; ask the operator "
        "for a new one",
        contributor,
        FormatTime(static_cast<double>(invitation->expire_time_s)));
  }
  return *invitation;
}

StatusOr<std::string> PemOf(const Core& core, const std::string& contributor,
                            const std::string& key_id) {
  std::optional<CertificateRow> row;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    row = ContributorStore(transaction).FindCertificate(contributor, key_id);
    return absl::OkStatus();
  }));
  return row ? StatusOr<std::string>(row->pem)
             : DataLoss("contributors/{}: its certificate is gone",
                        contributor);
}

}  // namespace

EnrolmentServiceImpl::EnrolmentServiceImpl(const ServiceContext& context)
    : context_(context),
      limiter_({.each = kEach, .all = kAll}, context.core.clock) {}

Status EnrolmentServiceImpl::Enrol(const grpc::ServerContext& call,
                                   const v1::EnrolRequest& request,
                                   v1::EnrolResponse& response) {
  if (!limiter_.Admit(SourceOf(call.peer()))) {
    return Unavailable("too many enrolment attempts; try again in a moment");
  }
  const std::string& contributor = request.contributor_id();
  RETURN_IF_ERROR(manifest::CheckId("contributor_id", contributor));
  if (request.invitation_secret().size() != kSecretBytes) {
    return InvalidArgument("invitation_secret: got {} bytes, wanted {}",
                           request.invitation_secret().size(), kSecretBytes);
  }
  const std::string secret_sha256 =
      crypto::Sha256Hex(request.invitation_secret());
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const RequestKey key, KeyOf("invitation:" + secret_sha256,
                                               request.request_id(), request));
  ASSIGN_OR_RETURN(
      const std::string key_id,
      RunOnce(
          core, key, [&](Transaction& transaction) -> StatusOr<std::string> {
            RETURN_IF_ERROR(
                CheckInvitation(core, transaction, secret_sha256, contributor)
                    .status());
            ContributorStore store(transaction);
            const auto row = store.Find(contributor);
            if (row && row->state == ContributorState::kRevoked) {
              return PermissionDenied("contributors/{} is revoked",
                                      contributor);
            }
            ASSIGN_OR_RETURN(const CertificateRow certificate,
                             IssueContributorCertificate(
                                 context_, transaction, contributor,
                                 request.certificate_signing_request_pem()));
            store.UseInvitation(secret_sha256, core.now_s());
            store.SetState(contributor, ContributorState::kEnrolled);
            RETURN_IF_ERROR(core.Audit(
                transaction,
                {.actor = ResourceName(Collection::kContributors, contributor),
                 .action = "contributor.enrol",
                 .subject =
                     ResourceName(Collection::kContributors, contributor)},
                {{"serial", certificate.serial},
                 {"key_id", certificate.key_id}}));
            return certificate.key_id;
          }));
  ASSIGN_OR_RETURN(*response.mutable_certificate_pem(),
                   PemOf(core, contributor, key_id));
  const auto keys = context_.trust.keys();
  response.set_ca_certificate_pem(keys->ca.certificate().ToPem());
  response.set_signing_certificate_pem(keys->signer_certificate_pem);
  *response.mutable_trust() = BundleOf(*keys);
  response.set_federation(core.settings.federation);
  return absl::OkStatus();
}

grpc::Status EnrolmentServiceImpl::Enrol(grpc::ServerContext* call,
                                         const v1::EnrolRequest* request,
                                         v1::EnrolResponse* response) {
  return Serve(context_, *call, "EnrolmentService.Enrol", *request,
               [&] { return Enrol(*call, *request, *response); });
}

grpc::Status EnrolmentServiceImpl::RenewCertificate(
    grpc::ServerContext* call, const v1::RenewCertificateRequest* request,
    v1::RenewCertificateResponse* response) {
  return Serve(
      context_, *call, "EnrolmentService.RenewCertificate", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, *call));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        ASSIGN_OR_RETURN(
            const std::string key_id,
            RunOnce(core, key,
                    [&](Transaction& transaction) -> StatusOr<std::string> {
                      ASSIGN_OR_RETURN(
                          const CertificateRow certificate,
                          IssueContributorCertificate(
                              context_, transaction, caller.id,
                              request->certificate_signing_request_pem()));
                      RETURN_IF_ERROR(core.Audit(
                          transaction,
                          {.actor = caller.uri,
                           .action = "contributor.renew",
                           .subject = ResourceName(Collection::kContributors,
                                                   caller.id)},
                          {{"serial", certificate.serial},
                           {"key_id", certificate.key_id}}));
                      return certificate.key_id;
                    }));
        ASSIGN_OR_RETURN(*response->mutable_certificate_pem(),
                         PemOf(core, caller.id, key_id));
        const auto keys = context_.trust.keys();
        response->set_ca_certificate_pem(keys->ca.certificate().ToPem());
        response->set_signing_certificate_pem(keys->signer_certificate_pem);
        *response->mutable_trust() = BundleOf(*keys);
        return absl::OkStatus();
      });
}

}  // namespace tributary::coordinator
