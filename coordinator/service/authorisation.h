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

  bool is_operator() const { return role == rpc::PeerRole::kOperator; }
};

// A contributor of this federation that is not revoked. UNAUTHENTICATED: no or
// another federation's certificate. PERMISSION_DENIED: revoked, or an operator.
StatusOr<Caller> RequireContributor(const Core& core,
                                    const grpc::ServerContext& context);

// A contributor that may have been revoked: its data are its own still, so it
// can withdraw them and ask what became of that, and nothing else.
StatusOr<Caller> RequireOwner(const Core& core,
                              const grpc::ServerContext& context);

// An operator of this federation. Errors likewise.
StatusOr<Caller> RequireOperator(const Core& core,
                                 const grpc::ServerContext& context);

// Either of them.
StatusOr<Caller> RequireReader(const Core& core,
                               const grpc::ServerContext& context);

}  // namespace tributary::coordinator
