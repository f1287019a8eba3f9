#pragma once

#include <grpcpp/support/server_callback.h>

#include "coordinator/service/service_context.h"
#include "tributary/v1/contribution.pb.h"

namespace tributary::coordinator {

// The server's side of one WatchContribution: the contribution now and after
// every change. Holds no thread while nothing happens.
grpc::ServerWriteReactor<v1::Contribution>* StartWatch(
    const ServiceContext& context, grpc::CallbackServerContext& call,
    const v1::WatchContributionRequest& request);

}  // namespace tributary::coordinator
