#include "coordinator/commands/release_lookup.h"

#include <algorithm>

#include "common/manifest/resource_name.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/storage/withdrawal_store.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

using manifest::ReleaseName;

// What a reader's program leaves in a copy of a withdrawn release.
constexpr char kWithdrawnMark[] = "WITHDRAWN";

StatusOr<std::optional<ReleaseRow>> FindRow(const Home& home,
                                            const std::string& name) {
  StatusOr<std::unique_ptr<Database>> database =
      Database::Open(home.database(), Database::Mode::kReadOnly);
  RETURN_IF_ERROR(database.status());
  const bool latest = name == "latest" || name == "releases/latest";
  int64_t number = 0;
  if (!latest) {
    ASSIGN_OR_RETURN(
        number, manifest::ParseReleaseName(
                    name.starts_with("releases/") ? name : "releases/" + name));
  }
  std::optional<ReleaseRow> row;
  RETURN_IF_ERROR((*database)->Transact([&](Transaction& transaction) {
    ReleaseStore releases(transaction);
    row = latest ? releases.Latest() : releases.Find(number);
    return absl::OkStatus();
  }));
  return row;
}

void AddEvaluations(ReleaseStore& releases, int64_t number,
                    const ReleaseRow& row, ReleaseFacts& facts) {
  facts.losses.clear();
  for (const EvaluationRow& loss : releases.EvaluationsOf(number)) {
    facts.losses.push_back({loss.evaluator, loss.text_label, loss.model,
                            loss.log_loss, loss.tokens});
  }
  const auto previous = manifest::ParseReleaseName(facts.previous_release);
  if (!previous.ok() || row.number == *previous) {
    return;
  }
  for (const EvaluationRow& loss : releases.EvaluationsOf(*previous)) {
    if (loss.model == "release") {
      facts.losses.push_back({loss.evaluator, loss.text_label, "previous",
                              loss.log_loss, loss.tokens});
    }
  }
}

void AddWithdrawals(Transaction& transaction, int64_t number,
                    ReleaseFacts& facts) {
  constexpr int64_t kAll = INT64_MAX;
  for (const WithdrawalRow& row :
       WithdrawalStore(transaction).List(kAll, kAll)) {
    const bool took_out =
        std::find(row.withdrawn_releases.begin(), row.withdrawn_releases.end(),
                  number) != row.withdrawn_releases.end();
    if (!took_out && row.new_release != number) {
      continue;
    }
    WithdrawalFact fact{.contribution = row.contribution,
                        .state = std::string(ToString(row.state)),
                        .time_s = row.create_time_s};
    if (const auto contribution =
            ContributionStore(transaction).Find(row.contribution)) {
      fact.contributor = contribution->contributor;
    }
    for (const int64_t release : row.withdrawn_releases) {
      fact.releases.push_back(ReleaseName(release));
    }
    if (row.new_release) {
      fact.new_release = ReleaseName(*row.new_release);
    }
    facts.withdrawals.push_back(std::move(fact));
  }
}

}  // namespace

StatusOr<FoundRelease> FindServedRelease(const Home& home,
                                         const std::string& name) {
  std::error_code error;
  const fs::path folder = fs::absolute(name, error).lexically_normal();
  if (fs::is_regular_file(ReleaseDirectory(folder).manifest(), error)) {
    if (fs::exists(folder / kWithdrawnMark, error)) {
      return FailedPrecondition(
          "{}: is a copy of a release that was withdrawn; fetch the newest",
          folder.string());
    }
    return FoundRelease{folder, std::nullopt};
  }
  ASSIGN_OR_RETURN(const std::optional<ReleaseRow> row, FindRow(home, name));
  if (!row) {
    return NotFound("release {}: there is none; `release list` shows all",
                    name);
  }
  if (!row->served()) {
    return FailedPrecondition("releases/{} is {}{}{}: it is not served",
                              row->number, ToString(row->state),
                              row->reason.empty() ? "" : ", ", row->reason);
  }
  return FoundRelease{home.release(row->number), row->number};
}

Status AddHomeFacts(const Home& home, int64_t number, ReleaseFacts& facts) {
  StatusOr<std::unique_ptr<Database>> database =
      Database::Open(home.database(), Database::Mode::kReadOnly);
  RETURN_IF_ERROR(database.status());
  return (*database)->Transact([&](Transaction& transaction) -> Status {
    ReleaseStore releases(transaction);
    const auto row = releases.Find(number);
    if (!row) {
      return NotFound("{}: is gone", ReleaseName(number));
    }
    facts.state = std::string(ToString(row->state));
    AddEvaluations(releases, number, *row, facts);
    AddWithdrawals(transaction, number, facts);
    return absl::OkStatus();
  });
}

}  // namespace tributary::coordinator
