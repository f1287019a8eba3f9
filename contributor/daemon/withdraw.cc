#include "contributor/daemon/withdraw.h"

#include <chrono>
#include <thread>

#include "common/base/json.h"
#include "contributor/client/receipts.h"
#include "contributor/egress/ledger.h"
#include "nlohmann/json.hpp"

namespace tributary::contributor {
namespace {

// Longer grace periods are not waited out.
constexpr double kLongestWaitSeconds = 60.0;
constexpr double kPollSeconds = 0.5;

Status RecordInLedger(const PipelineContext& context,
                      const std::string& contribution,
                      const v1::Withdrawal& withdrawal) {
  ASSIGN_OR_RETURN(Ledger ledger,
                   Ledger::Open(context.home.Ledger(), context.identity.key));
  const std::string subject = "contributions/" + contribution;
  for (const manifest::LedgerEntry& entry : ledger.entries()) {
    if (entry.action == "withdraw" && entry.subject == subject) {
      return absl::OkStatus();
    }
  }
  ASSIGN_OR_RETURN(const std::string detail,
                   DumpJson({{"destination", context.identity.address},
                             {"withdrawal", withdrawal.name()}}));
  return ledger.Append("contributor/" + context.identity.contributor_id,
                       "withdraw", subject, detail, context.clock);
}

void Pause(const WithdrawOptions& options) {
  if (options.sleep) {
    options.sleep(kPollSeconds);
  } else {
    std::this_thread::sleep_for(std::chrono::duration<double>(kPollSeconds));
  }
}

bool IsFinished(const v1::Withdrawal& withdrawal, const Clock& clock) {
  if (withdrawal.state() == v1::Withdrawal::PURGED) {
    return true;
  }
  const double rest =
      static_cast<double>(withdrawal.purge_time_s()) - clock.NowSeconds();
  return withdrawal.state() == v1::Withdrawal::REBUILT &&
         rest > kLongestWaitSeconds;
}

}  // namespace

StatusOr<v1::Withdrawal> Withdraw(const PipelineContext& context,
                                  const WithdrawOptions& options) {
  ASSIGN_OR_RETURN(v1::Withdrawal withdrawal,
                   context.client.WithdrawContribution(options.contribution));
  RETURN_IF_ERROR(StoreReceipts(context.home, context.identity, withdrawal));
  RETURN_IF_ERROR(RecordInLedger(context, options.contribution, withdrawal));
  if (options.on_change) {
    options.on_change(withdrawal);
  }
  while (options.wait == WithdrawOptions::Wait::kUntilPurged &&
         !IsFinished(withdrawal, context.clock)) {
    if (options.cancellation != nullptr) {
      RETURN_IF_ERROR(options.cancellation->Check());
    }
    Pause(options);
    const v1::Withdrawal::State before = withdrawal.state();
    ASSIGN_OR_RETURN(withdrawal,
                     context.client.GetWithdrawal(options.contribution));
    if (withdrawal.state() != before && options.on_change) {
      options.on_change(withdrawal);
    }
  }
  RETURN_IF_ERROR(StoreReceipts(context.home, context.identity, withdrawal));
  return withdrawal;
}

}  // namespace tributary::contributor
