// The operator's calls about opt-outs.

#include "common/manifest/resource_name.h"
#include "common/manifest/withdrawal_request.h"
#include "coordinator/service/admin_service.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/withdrawal/withdraw.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;
using manifest::ResourceName;

constexpr size_t kMaxReasonBytes = 1000;

// Who asks: the owner, by a request that is signed with any key that was ever
// certified for it, however long ago; or the operator.
StatusOr<WithdrawalRequester> RequesterOf(
    const Core& core, Transaction& transaction, const Caller& caller,
    const v1::CreateWithdrawalRequest& request,
    const ContributionRow& contribution) {
  if (request.signed_request_json().empty()) {
    return WithdrawalRequester{.actor = caller.uri, .reason = request.reason()};
  }
  ASSIGN_OR_RETURN(
      const std::vector<crypto::PublicKey> keys,
      ContributorStore(transaction).KeysOf(contribution.contributor));
  ASSIGN_OR_RETURN(
      const manifest::WithdrawalRequest signed_request,
      manifest::OpenWithdrawalRequest(request.signed_request_json(), keys));
  if (signed_request.federation != core.settings.federation ||
      signed_request.contribution != contribution.id ||
      signed_request.contributor != contribution.contributor) {
    return InvalidArgument(
        "signed_request_json: is about {} of {} in federation {}, wanted {} of "
        "{} in {}",
        signed_request.contribution, signed_request.contributor,
        signed_request.federation, contribution.id, contribution.contributor,
        core.settings.federation);
  }
  return WithdrawalRequester{.actor = ResourceName(Collection::kContributors,
                                                   contribution.contributor)};
}

}  // namespace

Status AdminServiceImpl::CreateWithdrawal(
    grpc::ServerContext& call, const v1::CreateWithdrawalRequest& request,
    v1::Withdrawal& response) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, call));
  ASSIGN_OR_RETURN(
      const std::string id,
      ParseResourceName(Collection::kContributions, request.contribution()));
  if (request.signed_request_json().empty() && request.reason().empty()) {
    return InvalidArgument(
        "reason: withdrawing on an owner's behalf needs one, or the owner's "
        "signed request");
  }
  if (request.reason().size() > kMaxReasonBytes) {
    return InvalidArgument("reason: got {} bytes, wanted at most {}",
                           request.reason().size(), kMaxReasonBytes);
  }
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  RETURN_IF_ERROR(
      RunOnce(core, key,
              [&](Transaction& transaction) -> StatusOr<std::string> {
                const auto row = ContributionStore(transaction).Find(id);
                if (!row) {
                  return NotFound("contributions/{}: no such contribution", id);
                }
                ASSIGN_OR_RETURN(
                    const WithdrawalRequester requester,
                    RequesterOf(core, transaction, caller, request, *row));
                RETURN_IF_ERROR(
                    Withdraw(core, transaction, *row, requester).status());
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

grpc::Status AdminServiceImpl::CreateWithdrawal(
    grpc::ServerContext* call, const v1::CreateWithdrawalRequest* request,
    v1::Withdrawal* response) {
  return Serve(context_, *call, "AdminService.CreateWithdrawal", *request,
               [&] { return CreateWithdrawal(*call, *request, *response); });
}

}  // namespace tributary::coordinator
