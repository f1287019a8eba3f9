#include "coordinator/service/authorisation.h"

#include "common/rpc/status_conversion.h"
#include "coordinator/storage/contributor_store.h"

namespace tributary::coordinator {
namespace {

Status CheckNotRevoked(const Core& core, const std::string& id) {
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
  if (row->state == ContributorState::kRevoked) {
    return rpc::WithErrorInfo(
        PermissionDenied("contributors/{} is revoked; ask the operator of "
                         "federation {}",
                         id, core.settings.federation),
        {.reason = rpc::kRevoked});
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<Caller> RequireReader(const Core& core,
                               const grpc::ServerContext& context) {
  ASSIGN_OR_RETURN(const rpc::PeerIdentity peer,
                   rpc::PeerOf(*context.auth_context()));
  if (peer.federation != core.settings.federation) {
    return Unauthenticated("the certificate is of federation {}, this is {}",
                           peer.federation, core.settings.federation);
  }
  const bool contributor = peer.role == rpc::PeerRole::kContributor;
  if (contributor) {
    RETURN_IF_ERROR(CheckNotRevoked(core, peer.id));
  }
  return Caller{.uri = "spiffe://" + peer.federation +
                       (contributor ? "/contributor/" : "/operator/") + peer.id,
                .role = peer.role,
                .id = peer.id};
}

StatusOr<Caller> RequireContributor(const Core& core,
                                    const grpc::ServerContext& context) {
  ASSIGN_OR_RETURN(Caller caller, RequireReader(core, context));
  if (caller.is_operator()) {
    return PermissionDenied(
        "this call is for contributors, the certificate is an operator's");
  }
  return caller;
}

StatusOr<Caller> RequireOperator(const Core& core,
                                 const grpc::ServerContext& context) {
  ASSIGN_OR_RETURN(Caller caller, RequireReader(core, context));
  if (!caller.is_operator()) {
    return PermissionDenied(
        "this call is for operators, the certificate is of contributors/{}",
        caller.id);
  }
  return caller;
}

}  // namespace tributary::coordinator
