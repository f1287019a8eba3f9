// The operator's calls about contributions.

#include "common/manifest/resource_name.h"
#include "coordinator/service/admin_actions.h"
#include "coordinator/service/admin_service.h"
#include "coordinator/service/contribution_service.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;

StatusOr<Outcome> OutcomeOf(v1::Decision::Outcome outcome) {
  switch (outcome) {
    case v1::Decision::OUTCOME_ACCEPTED:
      return Outcome::kAccepted;
    case v1::Decision::OUTCOME_QUARANTINED:
      return Outcome::kQuarantined;
    case v1::Decision::OUTCOME_REJECTED:
      return Outcome::kRejected;
    default:
      return InvalidArgument(
          "outcome: wanted ACCEPTED, QUARANTINED or REJECTED");
  }
}

}  // namespace

grpc::Status AdminServiceImpl::ListAllContributions(
    grpc::ServerContext* call, const v1::ListAllContributionsRequest* request,
    v1::ListContributionsResponse* response) {
  return Serve(
      context_, *call, "AdminService.ListAllContributions", *request,
      [&]() -> Status {
        RETURN_IF_ERROR(RequireOperator(context_.core, *call).status());
        v1::ListContributionsRequest all;
        all.set_page_size(request->page_size());
        all.set_page_token(request->page_token());
        all.set_filter(request->filter());
        return ListContributionPage(context_.core, "", all, *response);
      });
}

grpc::Status AdminServiceImpl::GetAnyContribution(
    grpc::ServerContext* call, const v1::GetContributionRequest* request,
    v1::Contribution* response) {
  return Serve(
      context_, *call, "AdminService.GetAnyContribution", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        RETURN_IF_ERROR(RequireOperator(core, *call).status());
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kContributions, request->name()));
        return core.database.Transact([&](Transaction& transaction) -> Status {
          ASSIGN_OR_RETURN(*response, ReadContribution(transaction, id));
          return absl::OkStatus();
        });
      });
}

grpc::Status AdminServiceImpl::DecideContribution(
    grpc::ServerContext* call, const v1::DecideContributionRequest* request,
    v1::Contribution* response) {
  return Serve(
      context_, *call, "AdminService.DecideContribution", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, *call));
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kContributions, request->name()));
        ASSIGN_OR_RETURN(const Outcome outcome, OutcomeOf(request->outcome()));
        if (outcome != Outcome::kAccepted && request->reason().empty()) {
          return InvalidArgument(
              "reason: {} needs one",
              outcome == Outcome::kRejected ? "a rejection" : "a quarantine");
        }
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        const OperatorDecision decision{.contribution = id,
                                        .outcome = outcome,
                                        .reason = request->reason()};
        RETURN_IF_ERROR(
            RunOnce(core, key,
                    [&](Transaction& transaction) -> StatusOr<std::string> {
                      RETURN_IF_ERROR(
                          Decide(core, transaction, caller, decision));
                      return id;
                    })
                .status());
        context_.jobs.Wake();
        return core.database.Transact([&](Transaction& transaction) -> Status {
          ASSIGN_OR_RETURN(*response, ReadContribution(transaction, id));
          return absl::OkStatus();
        });
      });
}

}  // namespace tributary::coordinator
