#include "coordinator/service/certificates.h"

#include <nlohmann/json.hpp>

#include "common/crypto/certificate.h"
#include "common/crypto/digest.h"
#include "common/manifest/resource_name.h"
#include "common/manifest/spiffe.h"
#include "coordinator/storage/reader_store.h"

namespace tributary::coordinator {

namespace {

// Certifies the key of a signing request for a client.
StatusOr<crypto::Certificate> Certify(const ServiceContext& context,
                                      const std::string& request_pem,
                                      const std::string& id,
                                      const std::string& uri,
                                      int64_t lifetime_s) {
  StatusOr<crypto::SigningRequest> request =
      crypto::SigningRequest::FromPem(request_pem);
  if (!request.ok()) {
    return InvalidArgument("certificate_signing_request_pem: {}",
                           std::string(request.status().message()));
  }
  return context.trust.keys()->issuing_ca().Issue(
      request->public_key(), {.common_name = id,
                              .uris = {uri},
                              .usages = {crypto::KeyUsage::kClient},
                              .lifetime_s = lifetime_s});
}

}  // namespace

StatusOr<CertificateRow> IssueContributorCertificate(
    const ServiceContext& context, Transaction& transaction,
    const std::string& contributor, const std::string& request_pem) {
  const manifest::Identity identity{
      .federation = context.core.settings.federation,
      .role = manifest::Role::kContributor,
      .id = contributor};
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   Certify(context, request_pem, contributor, identity.ToUri(),
                           kContributorCertificateS));
  CertificateRow row{.serial = certificate.serial(),
                     .contributor = contributor,
                     .key_id = certificate.public_key().key_id(),
                     .pem = certificate.ToPem(),
                     .create_time_s = context.core.now_s(),
                     .expire_time_s = certificate.not_after_s()};
  ContributorStore(transaction).AddCertificate(row);
  return row;
}

StatusOr<crypto::Certificate> IssueReader(const ServiceContext& context,
                                          Transaction& transaction,
                                          const Caller& caller,
                                          const ReaderRequest& request) {
  const Core& core = context.core;
  if (ReaderStore(transaction).FindRevoked(request.id)) {
    return FailedPrecondition("readers/{} is revoked; issue under another id",
                              request.id);
  }
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   Certify(context, request.request_pem, request.id,
                           UriOf({.federation = core.settings.federation,
                                  .role = rpc::PeerRole::kReader,
                                  .id = request.id}),
                           request.lifetime_s));
  RETURN_IF_ERROR(core.Audit(transaction,
                             {.actor = caller.uri,
                              .action = "reader.issue",
                              .subject = manifest::ResourceName(
                                  manifest::Collection::kReaders, request.id)},
                             {{"serial", certificate.serial()},
                              {"key_id", certificate.public_key().key_id()},
                              {"expire_time_s", certificate.not_after_s()}}));
  return certificate;
}

Status RecordShownCertificate(const Core& core, Transaction& transaction,
                              const Caller& caller,
                              const grpc::ServerContextBase& call) {
  const auto pem = rpc::PeerCertificatePem(*call.auth_context());
  if (!pem) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const crypto::Certificate shown,
                   crypto::Certificate::FromPem(*pem));
  const std::string key_id = shown.public_key().key_id();
  ContributorStore store(transaction);
  if (store.FindCertificate(caller.id, key_id)) {
    return absl::OkStatus();
  }
  // Its invitation is older than the backup, its enrolment is not.
  if (const auto row = store.Find(caller.id);
      row && row->state == ContributorState::kInvited) {
    store.SetState(caller.id, ContributorState::kEnrolled);
    store.DropInvitations(caller.id);
  }
  store.AddCertificate({.serial = shown.serial(),
                        .contributor = caller.id,
                        .key_id = key_id,
                        .pem = shown.ToPem(),
                        .create_time_s = shown.not_before_s(),
                        .expire_time_s = shown.not_after_s()});
  return core.Audit(transaction,
                    {.actor = caller.uri,
                     .action = "contributor.show_certificate",
                     .subject = manifest::ResourceName(
                         manifest::Collection::kContributors, caller.id)},
                    {{"serial", shown.serial()}, {"key_id", key_id}});
}

std::string InvitationSecret(const ServiceContext& context,
                             const std::string& request_id,
                             const std::string& contributor) {
  // Two nested hashes keyed with the signer's private key, as in HMAC.
  const std::string key = context.core.signer.ToPem();
  crypto::Sha256 inner;
  inner.Update("tributary invitation inner\n" + key + "\n" + request_id + "\n" +
               contributor);
  crypto::Sha256 outer;
  outer.Update("tributary invitation outer\n" + key + "\n" + inner.Bytes());
  return outer.Bytes();
}

}  // namespace tributary::coordinator
