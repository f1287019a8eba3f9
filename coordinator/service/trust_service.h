#pragma once

#include <string>
#include <vector>

#include "coordinator/service/authorisation.h"
#include "coordinator/service/service_context.h"
#include "coordinator/service/trust_keeper.h"
#include "tributary/v1/trust.grpc.pb.h"

namespace tributary::coordinator {

class TrustServiceImpl final : public v1::TrustService::Service {
 public:
  explicit TrustServiceImpl(const ServiceContext& context)
      : context_(context) {}

  grpc::Status GetTrustBundle(grpc::ServerContext* call,
                              const v1::GetTrustBundleRequest* request,
                              v1::TrustBundle* response) override;
  grpc::Status GetTrustState(grpc::ServerContext* call,
                             const v1::GetTrustStateRequest* request,
                             v1::TrustState* response) override;
  grpc::Status RotateServerKey(grpc::ServerContext* call,
                               const v1::RotateServerKeyRequest* request,
                               v1::TrustState* response) override;
  grpc::Status RotateOperatorKey(grpc::ServerContext* call,
                                 const v1::RotateOperatorKeyRequest* request,
                                 v1::TrustState* response) override;
  grpc::Status StartCaRotation(grpc::ServerContext* call,
                               const v1::StartCaRotationRequest* request,
                               v1::TrustState* response) override;
  grpc::Status FinishCaRotation(grpc::ServerContext* call,
                                const v1::FinishCaRotationRequest* request,
                                v1::TrustState* response) override;

 private:
  Status FillState(v1::TrustState& state);
  // A new key for `name`, once, in the audit log.
  template <typename Request>
  Status RotateKey(const Caller& caller, const Request& request,
                   const std::string& name);
  Status Finish(const Caller& caller,
                const v1::FinishCaRotationRequest& request,
                Transaction& transaction);

  const ServiceContext& context_;
};

// The CAs that count and the signer's certificate.
v1::TrustBundle BundleOf(const ServerKeys& keys);

// Enrolled contributors, by whether they have a certificate of `next`.
struct RenewalCount {
  int64_t renewed = 0;
  std::vector<std::string> waiting;  // ids
};
StatusOr<RenewalCount> CountRenewed(Transaction& transaction,
                                    const crypto::Certificate& next,
                                    int64_t now_s);

// Certifies every key of contributors that `next` has not certified yet, so
// that what they signed can be checked once the old CA is gone. Nobody gets in
// with such a certificate: it ends at once.
Status CertifyKeysAgain(const ServiceContext& context, Transaction& transaction,
                        const crypto::CertificateAuthority& next);

}  // namespace tributary::coordinator
