#pragma once

#include "coordinator/service/rate_limiter.h"
#include "coordinator/service/service_context.h"
#include "tributary/v1/enrolment.grpc.pb.h"

namespace tributary::coordinator {

class EnrolmentServiceImpl final : public v1::EnrolmentService::Service {
 public:
  explicit EnrolmentServiceImpl(const ServiceContext& context);

  grpc::Status Enrol(grpc::ServerContext* call, const v1::EnrolRequest* request,
                     v1::EnrolResponse* response) override;
  grpc::Status RenewCertificate(
      grpc::ServerContext* call, const v1::RenewCertificateRequest* request,
      v1::RenewCertificateResponse* response) override;

 private:
  Status Enrol(const grpc::ServerContext& call, const v1::EnrolRequest& request,
               v1::EnrolResponse& response);

  const ServiceContext& context_;
  // Anyone can call Enrol: by source address.
  RateLimiter limiter_;
};

}  // namespace tributary::coordinator
