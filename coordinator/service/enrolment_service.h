#pragma once

#include <mutex>
#include <string>

#include "coordinator/service/service_context.h"
#include "tributary/v1/enrolment.grpc.pb.h"

namespace tributary::coordinator {

class EnrolmentServiceImpl final : public v1::EnrolmentService::Service {
 public:
  explicit EnrolmentServiceImpl(const ServiceContext& context)
      : context_(context) {}

  grpc::Status Enrol(grpc::ServerContext* call, const v1::EnrolRequest* request,
                     v1::EnrolResponse* response) override;
  grpc::Status RenewCertificate(
      grpc::ServerContext* call, const v1::RenewCertificateRequest* request,
      v1::RenewCertificateResponse* response) override;

 private:
  Status Enrol(const v1::EnrolRequest& request, v1::EnrolResponse& response);
  // Anyone can call Enrol: UNAVAILABLE when too many do.
  Status LimitRate();

  const ServiceContext& context_;
  std::mutex mutex_;
  // Guarded by mutex_: calls that may come at once, and when that was.
  double tokens_ = kBurst;
  double refilled_s_ = 0;

  static constexpr double kBurst = 30;
  static constexpr double kPerSecond = 5;
};

}  // namespace tributary::coordinator
