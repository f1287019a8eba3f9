#pragma once

// Who may call what. The identity is that of the verified certificate, never a
// request's field.

#include <grpcpp/server_context.h>

#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/rpc/credentials.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

struct Caller {
  std::string uri;  // for the audit log and for request ids
  rpc::PeerRole role = rpc::PeerRole::kContributor;
  std::string id;
  std::string key_id;  // of the certificate; operators only

  bool is_operator() const { return role == rpc::PeerRole::kOperator; }
};

// spiffe://<federation>/<role>/<id>
std::string UriOf(const rpc::PeerIdentity& peer);

// A contributor of this federation that is not revoked. UNAUTHENTICATED: no or
// another federation's certificate. PERMISSION_DENIED: revoked, or an operator.
StatusOr<Caller> RequireContributor(const Core& core,
                                    const grpc::ServerContextBase& context);

// A contributor that may have been revoked: its data are its own still, so it
// can withdraw them and ask what became of that, and nothing else.
StatusOr<Caller> RequireOwner(const Core& core,
                              const grpc::ServerContextBase& context);

// The operator of this federation, with the key that its home holds. Errors
// likewise; PERMISSION_DENIED for a key that was replaced.
StatusOr<Caller> RequireOperator(const Core& core,
                                 const grpc::ServerContextBase& context);

// Any certificate of this federation, a revoked contributor's too.
StatusOr<Caller> RequireAnyone(const Core& core,
                               const grpc::ServerContextBase& context);

// Any certificate of this federation: contributors and readers that are not
// revoked, operators.
StatusOr<Caller> RequireReader(const Core& core,
                               const grpc::ServerContextBase& context);

// Again for a stream that runs: PERMISSION_DENIED once the caller is revoked,
// or the operator's key replaced.
Status CheckStillAllowed(const Core& core, const Caller& caller);

// The identity URI of the verified certificate, for the log; empty without one.
std::string PeerUri(const grpc::ServerContextBase& context);

}  // namespace tributary::coordinator
