#pragma once

#include "coordinator/service/rate_limiter.h"
#include "coordinator/service/service_context.h"
#include "tributary/v1/preflight.grpc.pb.h"

namespace tributary::coordinator {

class PreflightServiceImpl final : public v1::PreflightService::Service {
 public:
  explicit PreflightServiceImpl(const ServiceContext& context);

  grpc::Status Probe(grpc::ServerContext* call, const v1::ProbeRequest* request,
                     v1::ProbeResponse* response) override;

 private:
  const ServiceContext& context_;
  // By identity.
  RateLimiter limiter_;
};

}  // namespace tributary::coordinator
