#pragma once

#include "coordinator/service/authorisation.h"
#include "coordinator/service/service_context.h"
#include "tributary/v1/admin.grpc.pb.h"

namespace tributary::coordinator {

class AdminServiceImpl final : public v1::AdminService::Service {
 public:
  explicit AdminServiceImpl(const ServiceContext& context)
      : context_(context) {}

  grpc::Status CreateInvitation(
      grpc::ServerContext* call, const v1::CreateInvitationRequest* request,
      v1::CreateInvitationResponse* response) override;
  grpc::Status ListInvitations(grpc::ServerContext* call,
                               const v1::ListInvitationsRequest* request,
                               v1::ListInvitationsResponse* response) override;
  grpc::Status DeleteInvitation(grpc::ServerContext* call,
                                const v1::DeleteInvitationRequest* request,
                                v1::Invitation* response) override;
  grpc::Status IssueReaderCertificate(
      grpc::ServerContext* call,
      const v1::IssueReaderCertificateRequest* request,
      v1::ReaderCertificate* response) override;
  grpc::Status RevokeReader(grpc::ServerContext* call,
                            const v1::RevokeReaderRequest* request,
                            v1::RevokedReader* response) override;
  grpc::Status ListRevokedReaders(
      grpc::ServerContext* call, const v1::ListRevokedReadersRequest* request,
      v1::ListRevokedReadersResponse* response) override;
  grpc::Status ListContributors(
      grpc::ServerContext* call, const v1::ListContributorsRequest* request,
      v1::ListContributorsResponse* response) override;
  grpc::Status GetContributor(grpc::ServerContext* call,
                              const v1::GetContributorRequest* request,
                              v1::Contributor* response) override;
  grpc::Status UpdateContributorPolicy(
      grpc::ServerContext* call,
      const v1::UpdateContributorPolicyRequest* request,
      v1::Contributor* response) override;
  grpc::Status RevokeContributor(grpc::ServerContext* call,
                                 const v1::RevokeContributorRequest* request,
                                 v1::Contributor* response) override;
  grpc::Status ListAllContributions(
      grpc::ServerContext* call, const v1::ListAllContributionsRequest* request,
      v1::ListContributionsResponse* response) override;
  grpc::Status GetAnyContribution(grpc::ServerContext* call,
                                  const v1::GetContributionRequest* request,
                                  v1::Contribution* response) override;
  grpc::Status DecideContribution(grpc::ServerContext* call,
                                  const v1::DecideContributionRequest* request,
                                  v1::Contribution* response) override;
  grpc::Status BuildRelease(grpc::ServerContext* call,
                            const v1::BuildReleaseRequest* request,
                            v1::Release* response) override;
  grpc::Status PublishAnchor(
      grpc::ServerContext* call, const v1::PublishAnchorRequest* request,
      grpc::ServerWriter<v1::PublishAnchorEvent>* writer) override;
  grpc::Status CreateWithdrawal(grpc::ServerContext* call,
                                const v1::CreateWithdrawalRequest* request,
                                v1::Withdrawal* response) override;
  grpc::Status ListWithdrawals(grpc::ServerContext* call,
                               const v1::ListWithdrawalsRequest* request,
                               v1::ListWithdrawalsResponse* response) override;
  grpc::Status CollectGarbage(grpc::ServerContext* call,
                              const v1::CollectGarbageRequest* request,
                              v1::CollectGarbageResponse* response) override;
  grpc::Status GetStatus(grpc::ServerContext* call,
                         const v1::GetStatusRequest* request,
                         v1::GetStatusResponse* response) override;

 private:
  Status UpdateContributorPolicy(
      grpc::ServerContext& call,
      const v1::UpdateContributorPolicyRequest& request,
      v1::Contributor& response);
  Status CreateWithdrawal(grpc::ServerContext& call,
                          const v1::CreateWithdrawalRequest& request,
                          v1::Withdrawal& response);
  Status CreateInvitation(grpc::ServerContext& call,
                          const v1::CreateInvitationRequest& request,
                          v1::CreateInvitationResponse& response);
  Status IssueReaderCertificate(
      grpc::ServerContext& call,
      const v1::IssueReaderCertificateRequest& request,
      v1::ReaderCertificate& response);
  Status CollectGarbage(grpc::ServerContext& call,
                        const v1::CollectGarbageRequest& request,
                        v1::CollectGarbageResponse& response);
  Status PublishAnchor(grpc::ServerContext& call,
                       const v1::PublishAnchorRequest& request,
                       grpc::ServerWriter<v1::PublishAnchorEvent>& writer);

  const ServiceContext& context_;
};

}  // namespace tributary::coordinator
