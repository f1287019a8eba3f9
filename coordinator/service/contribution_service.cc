#include "coordinator/service/contribution_service.h"

#include <chrono>
#include <optional>

#include "common/manifest/resource_name.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/offer.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/withdrawal/withdraw.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;

constexpr std::chrono::milliseconds kWatchWait(500);

bool IsOwn(const Caller& caller, const std::optional<ContributionRow>& row) {
  return row && row->contributor == caller.id;
}

Status NoSuchContribution(const std::string& id) {
  return NotFound("contributions/{}: you have no such contribution", id);
}

StatusOr<ContributionRow> ReadOwn(const Core& core, const Caller& caller,
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

bool IsFinal(const v1::Contribution& contribution) {
  return contribution.state() == v1::Contribution::PURGED;
}

}  // namespace

Status ListContributionPage(const Core& core, const std::string& contributor,
                            const v1::ListContributionsRequest& request,
                            v1::ListContributionsResponse& response) {
  const std::string list = "contributions of " + contributor;
  ASSIGN_OR_RETURN(const Page page,
                   ParsePage(request.page_size(), request.page_token(), list));
  ASSIGN_OR_RETURN(const int64_t before, page.Before());
  return core.database.Transact([&](Transaction& transaction) {
    const std::vector<ContributionRow> rows =
        ContributionStore(transaction).List(contributor, before, page.size);
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
  return Serve("CreateContribution", [&]() -> Status {
    const Core& core = context_.core;
    ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, *call));
    return Apply(core, caller, *request, *response,
                 [&](Transaction& transaction) {
                   return Offer(core, transaction, caller,
                                request->manifest_envelope_json(),
                                ModeOf(request->validate_only()));
                 });
  });
}

grpc::Status ContributionServiceImpl::SubmitContribution(
    grpc::ServerContext* call, const v1::SubmitContributionRequest* request,
    v1::Contribution* response) {
  return Serve("SubmitContribution", [&]() -> Status {
    const Core& core = context_.core;
    ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, *call));
    ASSIGN_OR_RETURN(
        const std::string id,
        ParseResourceName(Collection::kContributions, request->name()));
    RETURN_IF_ERROR(
        Apply(core, caller, *request, *response, [&](Transaction& transaction) {
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
  return Serve("GetContribution", [&]() -> Status {
    ASSIGN_OR_RETURN(const Caller caller,
                     RequireContributor(context_.core, *call));
    ASSIGN_OR_RETURN(const ContributionRow row,
                     ReadOwn(context_.core, caller, request->name()));
    *response = ToProto(row);
    return absl::OkStatus();
  });
}

grpc::Status ContributionServiceImpl::ListContributions(
    grpc::ServerContext* call, const v1::ListContributionsRequest* request,
    v1::ListContributionsResponse* response) {
  return Serve("ListContributions", [&]() -> Status {
    ASSIGN_OR_RETURN(const Caller caller,
                     RequireContributor(context_.core, *call));
    return ListContributionPage(context_.core, caller.id, *request, *response);
  });
}

Status ContributionServiceImpl::Watch(
    grpc::ServerContext& call, const v1::WatchContributionRequest& request,
    grpc::ServerWriter<v1::Contribution>& writer) {
  const Core& core = context_.core;
  std::string sent;
  uint64_t seen = core.database.changes();
  while (true) {
    // Again after every change: the caller may have been revoked.
    ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, call));
    ASSIGN_OR_RETURN(const ContributionRow row,
                     ReadOwn(core, caller, request.name()));
    const v1::Contribution contribution = ToProto(row);
    std::string bytes = contribution.SerializeAsString();
    if (bytes != sent && !writer.Write(contribution)) {
      return absl::CancelledError("the client has gone");
    }
    sent = std::move(bytes);
    if (IsFinal(contribution)) {
      return absl::OkStatus();
    }
    uint64_t now = seen;
    while (now == seen) {
      now = core.database.WaitForChange(seen, kWatchWait);
      if (call.IsCancelled()) {
        return absl::CancelledError("the client has gone");
      }
      if (context_.draining.IsCancelled()) {
        return Unavailable("the coordinator shuts down; watch again later");
      }
    }
    seen = now;
  }
}

grpc::Status ContributionServiceImpl::WatchContribution(
    grpc::ServerContext* call, const v1::WatchContributionRequest* request,
    grpc::ServerWriter<v1::Contribution>* writer) {
  return Serve("WatchContribution",
               [&] { return Watch(*call, *request, *writer); });
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
                RETURN_IF_ERROR(
                    coordinator::Withdraw(core, transaction, *row,
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
  return Serve("WithdrawContribution",
               [&] { return Withdraw(*call, *request, *response); });
}

grpc::Status ContributionServiceImpl::GetWithdrawal(
    grpc::ServerContext* call, const v1::GetWithdrawalRequest* request,
    v1::Withdrawal* response) {
  return Serve("GetWithdrawal", [&]() -> Status {
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
