#include "coordinator/service/authorisation.h"

#include "common/crypto/certificate.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/service/server_keys.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/reader_store.h"

namespace tributary::coordinator {
std::string UriOf(const rpc::PeerIdentity& peer) {
  return fmt::format("spiffe://{}/{}/{}", peer.federation,
                     rpc::RoleName(peer.role), peer.id);
}

namespace {

// Whether a contributor that the operator has revoked is let in.
enum class Revoked { kRefused, kAllowed };

Status CheckKnown(const Core& core, const std::string& id, Revoked revoked) {
  std::optional<ContributorRow> row;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    row = ContributorStore(transaction).Find(id);
    return absl::OkStatus();
  }));
  if (!row) {
    return Unauthenticated(
        "contributors/{}: this coordinator does not know it; enrol with an "
        "invitation",
        id);
  }
  if (row->state == ContributorState::kRevoked &&
      revoked == Revoked::kRefused) {
    return rpc::WithErrorInfo(
        PermissionDenied("contributors/{} is revoked; ask the operator of "
                         "federation {}",
                         id, core.settings.federation),
        {.reason = rpc::kRevoked});
  }
  return absl::OkStatus();
}

Status CheckReads(const Core& core, const std::string& id) {
  bool revoked = false;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    revoked = ReaderStore(transaction).FindRevoked(id).has_value();
    return absl::OkStatus();
  }));
  return revoked ? rpc::WithErrorInfo(
                       PermissionDenied(
                           "readers/{} is revoked; ask the operator of "
                           "federation {}",
                           id, core.settings.federation),
                       {.reason = rpc::kRevoked})
                 : absl::OkStatus();
}

// The operator is who holds the key of the certificate in the home: what was
// replaced does not count, though the CA has signed it.
Status CheckOperatorKey(const Core& core, const std::string& key_id) {
  ASSIGN_OR_RETURN(
      const crypto::Certificate present,
      crypto::Certificate::Load(core.home.certificate(kOperatorName)));
  return key_id == present.public_key().key_id()
             ? absl::OkStatus()
             : rpc::WithErrorInfo(
                   PermissionDenied("the operator of federation {} has another "
                                    "key now; use keys/operator.* of the "
                                    "coordinator's home",
                                    core.settings.federation),
                   {.reason = rpc::kRevoked});
}

StatusOr<std::string> ShownKeyId(const grpc::ServerContextBase& context) {
  const auto pem = rpc::PeerCertificatePem(*context.auth_context());
  if (!pem) {
    return Unauthenticated("the connection shows no certificate");
  }
  ASSIGN_OR_RETURN(const crypto::Certificate shown,
                   crypto::Certificate::FromPem(*pem));
  return shown.public_key().key_id();
}

StatusOr<Caller> Identify(const Core& core,
                          const grpc::ServerContextBase& context,
                          Revoked revoked) {
  ASSIGN_OR_RETURN(const rpc::PeerIdentity peer,
                   rpc::PeerOf(*context.auth_context()));
  if (peer.federation != core.settings.federation) {
    return Unauthenticated("the certificate is of federation {}, this is {}",
                           peer.federation, core.settings.federation);
  }
  Caller caller{.uri = UriOf(peer), .role = peer.role, .id = peer.id};
  if (peer.role == rpc::PeerRole::kContributor) {
    RETURN_IF_ERROR(CheckKnown(core, peer.id, revoked));
  } else if (peer.role == rpc::PeerRole::kReader) {
    RETURN_IF_ERROR(CheckReads(core, peer.id));
  } else {
    ASSIGN_OR_RETURN(caller.key_id, ShownKeyId(context));
    RETURN_IF_ERROR(CheckOperatorKey(core, caller.key_id));
  }
  return caller;
}

Status CheckIsContributor(const Caller& caller) {
  return caller.role == rpc::PeerRole::kContributor
             ? absl::OkStatus()
             : PermissionDenied(
                   "this call is for contributors, the certificate is of the "
                   "{} {}",
                   rpc::RoleName(caller.role), caller.id);
}

}  // namespace

StatusOr<Caller> RequireAnyone(const Core& core,
                               const grpc::ServerContextBase& context) {
  return Identify(core, context, Revoked::kAllowed);
}

StatusOr<Caller> RequireReader(const Core& core,
                               const grpc::ServerContextBase& context) {
  return Identify(core, context, Revoked::kRefused);
}

StatusOr<Caller> RequireContributor(const Core& core,
                                    const grpc::ServerContextBase& context) {
  ASSIGN_OR_RETURN(Caller caller, RequireReader(core, context));
  RETURN_IF_ERROR(CheckIsContributor(caller));
  return caller;
}

StatusOr<Caller> RequireOwner(const Core& core,
                              const grpc::ServerContextBase& context) {
  ASSIGN_OR_RETURN(Caller caller, Identify(core, context, Revoked::kAllowed));
  RETURN_IF_ERROR(CheckIsContributor(caller));
  return caller;
}

StatusOr<Caller> RequireOperator(const Core& core,
                                 const grpc::ServerContextBase& context) {
  ASSIGN_OR_RETURN(Caller caller, RequireReader(core, context));
  if (!caller.is_operator()) {
    return PermissionDenied(
        "this call is for operators, the certificate is of the {} {}",
        rpc::RoleName(caller.role), caller.id);
  }
  return caller;
}

Status CheckStillAllowed(const Core& core, const Caller& caller) {
  switch (caller.role) {
    case rpc::PeerRole::kContributor:
      return CheckKnown(core, caller.id, Revoked::kRefused);
    case rpc::PeerRole::kReader:
      return CheckReads(core, caller.id);
    default:
      return CheckOperatorKey(core, caller.key_id);
  }
}

std::string PeerUri(const grpc::ServerContextBase& context) {
  const auto peer = rpc::PeerOf(*context.auth_context());
  return peer.ok() ? UriOf(*peer) : "";
}

}  // namespace tributary::coordinator
