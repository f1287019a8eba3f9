#pragma once

#include "coordinator/service/authorisation.h"
#include "coordinator/service/service_context.h"
#include "tributary/v1/contribution.grpc.pb.h"

namespace tributary::coordinator {

class ContributionServiceImpl final : public v1::ContributionService::Service {
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
  grpc::Status WatchContribution(
      grpc::ServerContext* call, const v1::WatchContributionRequest* request,
      grpc::ServerWriter<v1::Contribution>* writer) override;
  grpc::Status WithdrawContribution(
      grpc::ServerContext* call, const v1::WithdrawContributionRequest* request,
      v1::Withdrawal* response) override;
  grpc::Status GetWithdrawal(grpc::ServerContext* call,
                             const v1::GetWithdrawalRequest* request,
                             v1::Withdrawal* response) override;

 private:
  Status Watch(grpc::ServerContext& call,
               const v1::WatchContributionRequest& request,
               grpc::ServerWriter<v1::Contribution>& writer);
  Status Withdraw(grpc::ServerContext& call,
                  const v1::WithdrawContributionRequest& request,
                  v1::Withdrawal& response);

  const ServiceContext& context_;
};

// A page of contributions, of one contributor or of all ("").
Status ListContributionPage(const Core& core, const std::string& contributor,
                            const v1::ListContributionsRequest& request,
                            v1::ListContributionsResponse& response);

}  // namespace tributary::coordinator
