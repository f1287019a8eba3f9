#include "coordinator/service/contribution_service.h"

#include <optional>

#include "common/manifest/resource_name.h"
#include "coordinator/service/certificates.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/list_filter.h"
#include "coordinator/service/offer.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/service/watch_stream.h"
#include "coordinator/withdrawal/withdraw.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;

bool IsOwn(const Caller& caller, const std::optional<ContributionRow>& row) {
  return row && row->contributor == caller.id;
}

Status NoSuchContribution(const std::string& id) {
  return NotFound("contributions/{}: you have no such contribution", id);
}

OfferMode ModeOf(bool validate_only) {
  return validate_only ? OfferMode::kValidateOnly : OfferMode::kCreate;
}

// Runs a step that yields a contribution, once per request id; a dry run leaves
// no trace.
template <typename Request, typename Step>
Status Apply(const Core& core, const Caller& caller, const Request& request,
             v1::Contribution& response, Step&& step) {
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  if (request.validate_only()) {
    return core.database.Transact([&](Transaction& transaction) -> Status {
      ASSIGN_OR_RETURN(const ContributionRow row, step(transaction));
      response = ToProto(row);
      return absl::OkStatus();
    });
  }
  ASSIGN_OR_RETURN(
      const std::string id,
      RunOnce(core, key,
              [&](Transaction& transaction) -> StatusOr<std::string> {
                ASSIGN_OR_RETURN(const ContributionRow row, step(transaction));
                return row.id;
              }));
  return core.database.Transact([&](Transaction& transaction) -> Status {
    ASSIGN_OR_RETURN(response, ReadContribution(transaction, id));
    return absl::OkStatus();
  });
}

}  // namespace

StatusOr<ContributionRow> ReadOwnContribution(const Core& core,
                                              const Caller& caller,
                                              const std::string& name) {
  ASSIGN_OR_RETURN(const std::string id,
                   ParseResourceName(Collection::kContributions, name));
  std::optional<ContributionRow> row;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    row = ContributionStore(transaction).Find(id);
    return absl::OkStatus();
  }));
  if (!IsOwn(caller, row)) {
    return NoSuchContribution(id);
  }
  return *row;
}

Status ListContributionPage(const Core& core, const std::string& contributor,
                            const v1::ListContributionsRequest& request,
                            v1::ListContributionsResponse& response) {
  ASSIGN_OR_RETURN(
      ContributionFilter filter,
      ParseContributionFilter(request.filter(), contributor.empty()
                                                    ? FilterScope::kEveryone
                                                    : FilterScope::kOwn));
  if (!contributor.empty()) {
    filter.contributor = contributor;
  }
  const std::string list = fmt::format("contributions of {} where {}",
                                       contributor, request.filter());
  ASSIGN_OR_RETURN(const Page page,
                   ParsePage(request.page_size(), request.page_token(), list));
  ASSIGN_OR_RETURN(const int64_t before, page.Before());
  return core.database.Transact([&](Transaction& transaction) {
    const std::vector<ContributionRow> rows =
        ContributionStore(transaction).List(filter, before, page.size);
    for (const ContributionRow& row : rows) {
      *response.add_contributions() = ToProto(row);
    }
    if (static_cast<int64_t>(rows.size()) == page.size) {
      response.set_next_page_token(
          NextPageToken(list, std::to_string(rows.back().sequence)));
    }
    return absl::OkStatus();
  });
}

grpc::Status ContributionServiceImpl::CreateContribution(
    grpc::ServerContext* call, const v1::CreateContributionRequest* request,
    v1::Contribution* response) {
  return Serve(
      context_, *call, "ContributionService.CreateContribution", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, *call));
        return Apply(
            core, caller, *request, *response,
            [&](Transaction& transaction) -> StatusOr<ContributionRow> {
              RETURN_IF_ERROR(
                  RecordShownCertificate(core, transaction, caller, *call));
              return Offer(core, transaction, caller,
                           request->manifest_envelope_json(),
                           ModeOf(request->validate_only()));
            });
      });
}

grpc::Status ContributionServiceImpl::SubmitContribution(
    grpc::ServerContext* call, const v1::SubmitContributionRequest* request,
    v1::Contribution* response) {
  return Serve(
      context_, *call, "ContributionService.SubmitContribution", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, *call));
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kContributions, request->name()));
        RETURN_IF_ERROR(Apply(core, caller, *request, *response,
                              [&](Transaction& transaction) {
                                return Submit(core, transaction, caller, id,
                                              ModeOf(request->validate_only()));
                              }));
        context_.jobs.Wake();
        return absl::OkStatus();
      });
}

grpc::Status ContributionServiceImpl::GetContribution(
    grpc::ServerContext* call, const v1::GetContributionRequest* request,
    v1::Contribution* response) {
  return Serve(context_, *call, "ContributionService.GetContribution", *request,
               [&]() -> Status {
                 ASSIGN_OR_RETURN(const Caller caller,
                                  RequireContributor(context_.core, *call));
                 ASSIGN_OR_RETURN(const ContributionRow row,
                                  ReadOwnContribution(context_.core, caller,
                                                      request->name()));
                 *response = ToProto(row);
                 return absl::OkStatus();
               });
}

grpc::Status ContributionServiceImpl::ListContributions(
    grpc::ServerContext* call, const v1::ListContributionsRequest* request,
    v1::ListContributionsResponse* response) {
  return Serve(context_, *call, "ContributionService.ListContributions",
               *request, [&]() -> Status {
                 ASSIGN_OR_RETURN(const Caller caller,
                                  RequireContributor(context_.core, *call));
                 return ListContributionPage(context_.core, caller.id, *request,
                                             *response);
               });
}

grpc::ServerWriteReactor<v1::Contribution>*
ContributionServiceImpl::WatchContribution(
    grpc::CallbackServerContext* call,
    const v1::WatchContributionRequest* request) {
  return StartWatch(context_, *call, *request);
}

Status ContributionServiceImpl::Withdraw(
    grpc::ServerContext& call, const v1::WithdrawContributionRequest& request,
    v1::Withdrawal& response) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireOwner(core, call));
  ASSIGN_OR_RETURN(
      const std::string id,
      ParseResourceName(Collection::kContributions, request.name()));
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  RETURN_IF_ERROR(
      RunOnce(core, key,
              [&](Transaction& transaction) -> StatusOr<std::string> {
                const auto row = ContributionStore(transaction).Find(id);
                if (!IsOwn(caller, row)) {
                  return NoSuchContribution(id);
                }
                RETURN_IF_ERROR(coordinator::Withdraw(core, transaction, *row,
                                                      {.actor = caller.uri})
                                    .status());
                return id;
              })
          .status());
  context_.jobs.Interrupt(id);
  context_.jobs.Wake();
  return core.database.Transact([&](Transaction& transaction) -> Status {
    ASSIGN_OR_RETURN(response, ReadWithdrawal(transaction, id));
    return absl::OkStatus();
  });
}

grpc::Status ContributionServiceImpl::WithdrawContribution(
    grpc::ServerContext* call, const v1::WithdrawContributionRequest* request,
    v1::Withdrawal* response) {
  return Serve(context_, *call, "ContributionService.WithdrawContribution",
               *request, [&] { return Withdraw(*call, *request, *response); });
}

grpc::Status ContributionServiceImpl::GetWithdrawal(
    grpc::ServerContext* call, const v1::GetWithdrawalRequest* request,
    v1::Withdrawal* response) {
  return Serve(
      context_, *call, "ContributionService.GetWithdrawal", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireOwner(core, *call));
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kWithdrawals, request->name()));
        return core.database.Transact([&](Transaction& transaction) -> Status {
          if (!IsOwn(caller, ContributionStore(transaction).Find(id))) {
            return NotFound("withdrawals/{}: you have no such withdrawal", id);
          }
          ASSIGN_OR_RETURN(*response, ReadWithdrawal(transaction, id));
          return absl::OkStatus();
        });
      });
}

}  // namespace tributary::coordinator
