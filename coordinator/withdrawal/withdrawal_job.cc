#include "coordinator/withdrawal/withdrawal_job.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/manifest/resource_name.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/withdrawal/purge.h"

namespace tributary::coordinator {

using manifest::ReleaseName;

StatusOr<std::optional<int64_t>> WithdrawalJob::ChooseRelease(
    const std::string& contribution) {
  std::optional<int64_t> chosen;
  RETURN_IF_ERROR(
      core_.database.Transact([&](Transaction& transaction) -> Status {
        WithdrawalStore withdrawals(transaction);
        ReleaseStore releases(transaction);
        const auto withdrawal = withdrawals.Find(contribution);
        if (!withdrawal) {
          return NotFound("withdrawals/{}: no such withdrawal", contribution);
        }
        if (withdrawal->withdrawn_releases.empty()) {
          return absl::OkStatus();
        }
        if (withdrawal->new_release) {
          const auto row = releases.Find(*withdrawal->new_release);
          if (row && row->state != ReleaseState::kWithdrawn) {
            chosen = row->number;
            return absl::OkStatus();
          }
        }
        const std::vector<std::string> survivors =
            ContributionStore(transaction)
                .ListAcceptedIds(withdrawal->anchor_digest);
        const auto latest = releases.Latest();
        if (survivors.empty()) {
          chosen = std::nullopt;
        } else if (latest &&
                   latest->anchor_digest == withdrawal->anchor_digest &&
                   releases.ContributionsOf(latest->number) == survivors) {
          chosen = latest->number;
        } else {
          // As the newest release that is replaced.
          const auto replaced =
              releases.Find(std::ranges::max(withdrawal->withdrawn_releases));
          chosen = releases.Create(
              withdrawal->anchor_digest,
              replaced ? replaced->router_mode : core_.settings.routing.mode,
              survivors, core_.now_s());
          RETURN_IF_ERROR(core_.Audit(transaction,
                                      {.actor = kCoordinatorActor,
                                       .action = "release.queue",
                                       .subject = ReleaseName(*chosen)},
                                      {{"experts", survivors}}));
        }
        withdrawals.SetNewRelease(contribution, chosen);
        return absl::OkStatus();
      }));
  return chosen;
}

Status WithdrawalJob::Rebuild(const std::string& contribution,
                              const JobContext& context) {
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<int64_t> number,
                     ChooseRelease(contribution));
    Status problem;
    std::optional<ReleaseRow> row;
    if (number) {
      problem = builder_.Build(*number, context);
      if (!problem.ok() && (absl::IsCancelled(problem) ||
                            context.attempt < kMaxRebuildAttempts)) {
        return problem;
      }
      if (!problem.ok()) {
        RETURN_IF_ERROR(builder_.Fail(*number, std::string(problem.message())));
      }
    }
    bool again = false;
    RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
      WithdrawalStore withdrawals(transaction);
      if (number) {
        row = ReleaseStore(transaction).Find(*number);
        // A survivor has gone too: build for those that are left now.
        again = row && row->state == ReleaseState::kWithdrawn;
      }
      if (again) {
        return absl::OkStatus();
      }
      if (row && row->state == ReleaseState::kFailed) {
        withdrawals.SetNewRelease(contribution, std::nullopt);
        withdrawals.SetError(contribution,
                             static_cast<int>(absl::StatusCode::kAborted),
                             ReleaseName(*number) + ": " + row->reason);
      } else {
        withdrawals.SetError(contribution, 0, "");
      }
      withdrawals.SetState(contribution, WithdrawalState::kRebuilt);
      return absl::OkStatus();
    }));
    if (!again) {
      return absl::OkStatus();
    }
  }
}

StatusOr<std::optional<int64_t>> WithdrawalJob::Run(
    const std::string& contribution, const JobContext& context) {
  std::optional<WithdrawalRow> row;
  const auto load = [&] {
    return core_.database.Transact([&](Transaction& transaction) {
      row = WithdrawalStore(transaction).Find(contribution);
      return absl::OkStatus();
    });
  };
  RETURN_IF_ERROR(load());
  if (!row || row->state == WithdrawalState::kPurged) {
    return std::optional<int64_t>();
  }
  if (row->state == WithdrawalState::kWithdrawn) {
    RETURN_IF_ERROR(Rebuild(contribution, context));
  }
  if (core_.now_s() < row->purge_time_s) {
    return std::optional<int64_t>(row->purge_time_s);
  }
  RETURN_IF_ERROR(Purge(core_, contribution));
  return std::optional<int64_t>();
}

}  // namespace tributary::coordinator
