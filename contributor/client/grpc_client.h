#pragma once

#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/rpc/credentials.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/retry_call.h"

namespace tributary::contributor {

struct GrpcClientOptions {
  std::string address;  // host:port
  rpc::TlsIdentity tls;
  RetryOptions retry;
};

// A client over one mutual TLS channel, which connects on the first call.
// Make a new one after the certificate was renewed.
std::unique_ptr<CoordinatorClient> CreateGrpcClient(
    const GrpcClientOptions& options);

// The only call without a certificate. UNAUTHENTICATED: the invitation is not
// known, has expired or was used, or the coordinator is not the invitation's.
StatusOr<v1::EnrolResponse> CallEnrol(const GrpcClientOptions& options,
                                      const v1::EnrolRequest& request);

}  // namespace tributary::contributor
