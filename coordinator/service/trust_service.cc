#include "coordinator/service/trust_service.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/manifest/resource_name.h"
#include "common/manifest/spiffe.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/storage/contributor_store.h"

namespace tributary::coordinator {
namespace {

constexpr int kMaxNamed = 100;
// Long enough to be a valid certificate, too short to be used.
constexpr int64_t kSignatureCertificateS = 1;

bool IssuedBy(const crypto::CertificateAuthority& ca, const std::string& pem) {
  const auto certificate = crypto::Certificate::FromPem(pem);
  return certificate.ok() &&
         certificate->VerifyChain(ca.certificate(), certificate->not_before_s())
             .ok();
}

// Those that did not renew would be shut out.
Status CheckAllRenewed(const RenewalCount& count) {
  if (count.waiting.empty()) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "{} contributors have no certificate of the new CA yet, such as {}: they "
      "get it at their next contact, which takes `tributary-contributor run`; "
      "wait for them, revoke them, or use --force and invite them again",
      count.waiting.size(), count.waiting[0]);
}

}  // namespace

v1::TrustBundle BundleOf(const ServerKeys& keys) {
  v1::TrustBundle bundle;
  for (const crypto::Certificate& ca : keys.trusted_cas()) {
    bundle.add_ca_certificates_pem(ca.ToPem());
  }
  bundle.set_signing_certificate_pem(keys.signer_certificate_pem);
  return bundle;
}

StatusOr<RenewalCount> CountRenewed(Transaction& transaction,
                                    const crypto::Certificate& next,
                                    int64_t now_s) {
  std::map<std::string, bool> renewed;
  for (const CertificateRow& row :
       ContributorStore(transaction).LiveCertificates(now_s)) {
    ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                     crypto::Certificate::FromPem(row.pem));
    renewed[row.contributor] |= certificate.VerifyChain(next, now_s).ok();
  }
  RenewalCount count;
  for (const auto& [contributor, has] : renewed) {
    if (has) {
      ++count.renewed;
    } else {
      count.waiting.push_back(contributor);
    }
  }
  return count;
}

Status CertifyKeysAgain(const ServiceContext& context, Transaction& transaction,
                        const crypto::CertificateAuthority& next) {
  ContributorStore store(transaction);
  for (const CertificateRow& row : store.NewestCertificates()) {
    if (IssuedBy(next, row.pem)) {
      continue;
    }
    ASSIGN_OR_RETURN(const crypto::Certificate old,
                     crypto::Certificate::FromPem(row.pem));
    ASSIGN_OR_RETURN(
        const crypto::Certificate certificate,
        next.Issue(old.public_key(), {.common_name = row.contributor,
                                      .uris = old.uris(),
                                      .usages = {crypto::KeyUsage::kClient},
                                      .lifetime_s = kSignatureCertificateS}));
    store.RecordCertificate({.serial = certificate.serial(),
                             .contributor = row.contributor,
                             .key_id = row.key_id,
                             .pem = certificate.ToPem(),
                             .create_time_s = context.core.now_s(),
                             .expire_time_s = certificate.not_after_s()});
  }
  return absl::OkStatus();
}

Status TrustServiceImpl::FillState(v1::TrustState& state) {
  const auto keys = context_.trust.keys();
  const crypto::Certificate& ca = keys->ca.certificate();
  state.set_ca_fingerprint(ca.fingerprint());
  state.set_ca_expire_time_s(ca.not_after_s());
  state.set_server_certificate_fingerprint(
      keys->server_certificate.fingerprint());
  state.set_server_certificate_expire_time_s(
      keys->server_certificate.not_after_s());
  state.set_operator_certificate_fingerprint(
      keys->operator_certificate.fingerprint());
  state.set_operator_certificate_expire_time_s(
      keys->operator_certificate.not_after_s());
  if (!keys->next_ca) {
    return absl::OkStatus();
  }
  const crypto::Certificate& next = keys->next_ca->certificate();
  state.set_next_ca_fingerprint(next.fingerprint());
  // Certificates begin a little early, since clocks differ.
  state.set_rotation_start_time_s(next.not_before_s());
  RenewalCount count;
  RETURN_IF_ERROR(
      context_.core.database.Transact([&](Transaction& transaction) -> Status {
        ASSIGN_OR_RETURN(
            count, CountRenewed(transaction, next, context_.core.now_s()));
        return absl::OkStatus();
      }));
  state.set_renewed_contributors(count.renewed);
  state.set_waiting_contributors_count(
      static_cast<int64_t>(count.waiting.size()));
  count.waiting.resize(std::min<size_t>(count.waiting.size(), kMaxNamed));
  for (const std::string& id : count.waiting) {
    state.add_waiting_contributors(
        manifest::ResourceName(manifest::Collection::kContributors, id));
  }
  return absl::OkStatus();
}

grpc::Status TrustServiceImpl::GetTrustBundle(
    grpc::ServerContext* call, const v1::GetTrustBundleRequest* request,
    v1::TrustBundle* response) {
  return Serve(context_, *call, "TrustService.GetTrustBundle", *request,
               [&]() -> Status {
                 // Also for a revoked owner, who withdraws and checks receipts.
                 RETURN_IF_ERROR(RequireAnyone(context_.core, *call).status());
                 *response = BundleOf(*context_.trust.keys());
                 return absl::OkStatus();
               });
}

grpc::Status TrustServiceImpl::GetTrustState(
    grpc::ServerContext* call, const v1::GetTrustStateRequest* request,
    v1::TrustState* response) {
  return Serve(
      context_, *call, "TrustService.GetTrustState", *request, [&]() -> Status {
        RETURN_IF_ERROR(RequireOperator(context_.core, *call).status());
        return FillState(*response);
      });
}

template <typename Request>
Status TrustServiceImpl::RotateKey(const Caller& caller, const Request& request,
                                   const std::string& name) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  return RunOnce(
             core, key,
             [&](Transaction& transaction) -> StatusOr<std::string> {
               ASSIGN_OR_RETURN(const crypto::PrivateKey fresh,
                                crypto::PrivateKey::Generate());
               const std::string key_id = fresh.public_key().key_id();
               RETURN_IF_ERROR(core.Audit(
                   transaction,
                   {.actor = caller.uri,
                    .action = fmt::format("federation.rotate_{}_key", name)},
                   {{"key_id", key_id}}));
               // Files come last: what cannot be written down is not done.
               RETURN_IF_ERROR(context_.trust.RotateKey(name, fresh));
               return key_id;
             })
      .status();
}

grpc::Status TrustServiceImpl::RotateServerKey(
    grpc::ServerContext* call, const v1::RotateServerKeyRequest* request,
    v1::TrustState* response) {
  return Serve(context_, *call, "TrustService.RotateServerKey", *request,
               [&]() -> Status {
                 ASSIGN_OR_RETURN(const Caller caller,
                                  RequireOperator(context_.core, *call));
                 RETURN_IF_ERROR(RotateKey(caller, *request, kServerName));
                 TrustKeeper::AwaitReload();
                 return FillState(*response);
               });
}

grpc::Status TrustServiceImpl::RotateOperatorKey(
    grpc::ServerContext* call, const v1::RotateOperatorKeyRequest* request,
    v1::TrustState* response) {
  return Serve(
      context_, *call, "TrustService.RotateOperatorKey", *request,
      [&]() -> Status {
        ASSIGN_OR_RETURN(const Caller caller,
                         RequireOperator(context_.core, *call));
        RETURN_IF_ERROR(RotateKey(caller, *request, kOperatorName));
        context_.streams.EndStreamsOf(
            caller.uri,
            rpc::WithErrorInfo(PermissionDenied("the operator has a new key"),
                               {.reason = rpc::kRevoked}));
        return FillState(*response);
      });
}

grpc::Status TrustServiceImpl::StartCaRotation(
    grpc::ServerContext* call, const v1::StartCaRotationRequest* request,
    v1::TrustState* response) {
  return Serve(
      context_, *call, "TrustService.StartCaRotation", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, *call));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        std::optional<crypto::CertificateAuthority> next;
        if (!context_.trust.keys()->next_ca) {
          ASSIGN_OR_RETURN(next, context_.trust.PrepareCa());
        }
        const auto start =
            [&](Transaction& transaction) -> StatusOr<std::string> {
          if (!next) {
            return FailedPrecondition(
                "the CA is being replaced already; finish that first");
          }
          const crypto::Certificate present =
              context_.trust.keys()->ca.certificate();
          RETURN_IF_ERROR(context_.trust.StartCaRotation(*next));
          const std::string fingerprint = next->certificate().fingerprint();
          RETURN_IF_ERROR(core.Audit(
              transaction,
              {.actor = caller.uri, .action = "federation.start_ca_rotation"},
              {{"ca", present.fingerprint()}, {"next_ca", fingerprint}}));
          return fingerprint;
        };
        const Status started = RunOnce(core, key, start).status();
        // It failed, or was a repeat that needs no new CA.
        RETURN_IF_ERROR(context_.trust.Restore());
        RETURN_IF_ERROR(started);
        return FillState(*response);
      });
}

Status TrustServiceImpl::Finish(const Caller& caller,
                                const v1::FinishCaRotationRequest& request,
                                Transaction& transaction) {
  const Core& core = context_.core;
  const auto keys = context_.trust.keys();
  if (!keys->next_ca) {
    return FailedPrecondition("the CA is not being replaced; start that first");
  }
  const crypto::Certificate& next = keys->next_ca->certificate();
  ASSIGN_OR_RETURN(const RenewalCount count,
                   CountRenewed(transaction, next, core.now_s()));
  if (!request.force()) {
    RETURN_IF_ERROR(CheckAllRenewed(count));
  }
  RETURN_IF_ERROR(CertifyKeysAgain(context_, transaction, *keys->next_ca));
  RETURN_IF_ERROR(core.Audit(
      transaction,
      {.actor = caller.uri, .action = "federation.finish_ca_rotation"},
      {{"ca", next.fingerprint()}, {"shut_out", count.waiting.size()}}));
  return context_.trust.FinishCaRotation();
}

grpc::Status TrustServiceImpl::FinishCaRotation(
    grpc::ServerContext* call, const v1::FinishCaRotationRequest* request,
    v1::TrustState* response) {
  return Serve(
      context_, *call, "TrustService.FinishCaRotation", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, *call));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        if (const auto keys = context_.trust.keys(); keys->next_ca) {
          RETURN_IF_ERROR(
              core.database.Transact([&](Transaction& transaction) -> Status {
                ASSIGN_OR_RETURN(
                    const RenewalCount count,
                    CountRenewed(transaction, keys->next_ca->certificate(),
                                 core.now_s()));
                return request->force() ? absl::OkStatus()
                                        : CheckAllRenewed(count);
              }));
          RETURN_IF_ERROR(context_.trust.PrepareFinish());
        }
        const Status finished =
            RunOnce(core, key,
                    [&](Transaction& transaction) -> StatusOr<std::string> {
                      RETURN_IF_ERROR(Finish(caller, *request, transaction));
                      return std::string("finished");
                    })
                .status();
        RETURN_IF_ERROR(context_.trust.Restore());
        RETURN_IF_ERROR(finished);
        TrustKeeper::AwaitReload();
        return FillState(*response);
      });
}

}  // namespace tributary::coordinator
