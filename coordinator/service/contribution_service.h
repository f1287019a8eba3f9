#pragma once

#include "coordinator/service/authorisation.h"
#include "coordinator/service/service_context.h"
#include "coordinator/storage/contribution_store.h"
#include "tributary/v1/contribution.grpc.pb.h"

namespace tributary::coordinator {

class ContributionServiceImpl final
    : public v1::ContributionService::WithCallbackMethod_WatchContribution<
          v1::ContributionService::Service> {
 public:
  explicit ContributionServiceImpl(const ServiceContext& context)
      : context_(context) {}

  grpc::Status CreateContribution(grpc::ServerContext* call,
                                  const v1::CreateContributionRequest* request,
                                  v1::Contribution* response) override;
  grpc::Status SubmitContribution(grpc::ServerContext* call,
                                  const v1::SubmitContributionRequest* request,
                                  v1::Contribution* response) override;
  grpc::Status GetContribution(grpc::ServerContext* call,
                               const v1::GetContributionRequest* request,
                               v1::Contribution* response) override;
  grpc::Status ListContributions(
      grpc::ServerContext* call, const v1::ListContributionsRequest* request,
      v1::ListContributionsResponse* response) override;
  grpc::ServerWriteReactor<v1::Contribution>* WatchContribution(
      grpc::CallbackServerContext* call,
      const v1::WatchContributionRequest* request) override;
  grpc::Status WithdrawContribution(
      grpc::ServerContext* call, const v1::WithdrawContributionRequest* request,
      v1::Withdrawal* response) override;
  grpc::Status GetWithdrawal(grpc::ServerContext* call,
                             const v1::GetWithdrawalRequest* request,
                             v1::Withdrawal* response) override;

 private:
  Status Withdraw(grpc::ServerContext& call,
                  const v1::WithdrawContributionRequest& request,
                  v1::Withdrawal& response);

  const ServiceContext& context_;
};

// The caller's contribution of that name. NOT_FOUND: it has none.
StatusOr<ContributionRow> ReadOwnContribution(const Core& core,
                                              const Caller& caller,
                                              const std::string& name);

// A page of contributions, of one contributor or of all ("").
Status ListContributionPage(const Core& core, const std::string& contributor,
                            const v1::ListContributionsRequest& request,
                            v1::ListContributionsResponse& response);

}  // namespace tributary::coordinator
