#include "coordinator/service/job_runner.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "common/base/log.h"
#include "common/manifest/resource_name.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/storage/withdrawal_store.h"

namespace tributary::coordinator {
namespace {

constexpr int64_t kFirstRetryS = 2;
constexpr int64_t kLongestRetryS = 300;
// A build that keeps failing for other reasons than its policy is given up.
constexpr int64_t kMaxBuildAttempts = 5;
constexpr std::chrono::seconds kLongestWait(30);

// The last part of a resource name.
std::string IdOf(const std::string& subject) {
  return subject.substr(subject.find('/') + 1);
}

int64_t RetryDelay(int64_t attempt) {
  int64_t delay = kFirstRetryS;
  for (int64_t i = 1; i < attempt && delay < kLongestRetryS; ++i) {
    delay *= 2;
  }
  return std::min(delay, kLongestRetryS);
}

}  // namespace

JobRunner::JobRunner(const Core& core, TaskRunner& runner)
    : core_(core),
      admission_(core, runner),
      builder_(core, runner),
      withdrawal_(core, builder_) {}

JobRunner::~JobRunner() { Stop(); }

Status JobRunner::Start() {
  std::error_code error;
  // Links to experts that a process which died left behind.
  std::filesystem::remove_all(core_.home.jobs(), error);
  std::filesystem::create_directories(core_.home.jobs(), error);
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    JobStore(transaction).RequeueRunning(core_.now_s());
    return absl::OkStatus();
  }));
  thread_ = std::thread([this] { Loop(); });
  return absl::OkStatus();
}

void JobRunner::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    if (current_) {
      current_->cancellation->Cancel();
    }
  }
  wake_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void JobRunner::Wake() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
  }
  wake_.notify_all();
}

void JobRunner::Interrupt(const std::string& contribution) {
  std::optional<JobRow> row;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (current_) {
      row = current_->row;
    }
  }
  if (!row) {
    return;
  }
  bool concerned = row->subject == "contributions/" + contribution;
  const Status status = core_.database.Transact([&](Transaction& transaction) {
    std::optional<int64_t> release;
    if (row->kind == JobKind::kBuildRelease) {
      const auto number = manifest::ParseReleaseName(row->subject);
      release = number.ok() ? std::optional<int64_t>(*number) : std::nullopt;
    } else if (row->kind == JobKind::kWithdraw) {
      const auto other = WithdrawalStore(transaction).Find(IdOf(row->subject));
      release = other ? other->new_release : std::nullopt;
    }
    if (release) {
      const std::vector<std::string> held =
          ReleaseStore(transaction).ContributionsOf(*release);
      concerned |= std::count(held.begin(), held.end(), contribution) > 0;
    }
    return absl::OkStatus();
  });
  const std::lock_guard<std::mutex> lock(mutex_);
  if (status.ok() && concerned && current_ &&
      current_->row.sequence == row->sequence) {
    current_->cancellation->Cancel();
  }
}

StatusOr<std::optional<int64_t>> JobRunner::Execute(
    const JobRow& row, const CancellationToken& token) {
  const JobContext context{
      .id = row.id(), .attempt = row.attempts, .cancellation = token};
  switch (row.kind) {
    case JobKind::kValidate:
      RETURN_IF_ERROR(admission_.Run(IdOf(row.subject), context));
      return std::optional<int64_t>();
    case JobKind::kWithdraw:
      return withdrawal_.Run(IdOf(row.subject), context);
    default:
      break;
  }
  ASSIGN_OR_RETURN(const int64_t number,
                   manifest::ParseReleaseName(row.subject));
  const Status status = builder_.Build(number, context);
  if (!status.ok() && !absl::IsCancelled(status) &&
      row.attempts >= kMaxBuildAttempts) {
    RETURN_IF_ERROR(builder_.Fail(number, std::string(status.message())));
    return std::optional<int64_t>();
  }
  RETURN_IF_ERROR(status);
  return std::optional<int64_t>();
}

Status JobRunner::Settle(const JobRow& row,
                         const StatusOr<std::optional<int64_t>>& result) {
  const Status& status = result.status();
  if (!status.ok() && !absl::IsCancelled(status)) {
    log::Error("job {} ({}), attempt {}: {}", row.id(), row.subject,
               row.attempts, status.ToString());
  }
  return core_.database.Transact([&](Transaction& transaction) {
    JobStore jobs(transaction);
    if (status.ok() && !result->has_value()) {
      jobs.Remove(row.sequence);
    } else if (status.ok()) {
      jobs.Requeue(row.sequence, **result);
    } else if (absl::IsCancelled(status)) {
      // Drained or overtaken by a withdrawal: look again at once.
      jobs.Requeue(row.sequence, core_.now_s());
    } else {
      jobs.Requeue(row.sequence, core_.now_s() + RetryDelay(row.attempts));
      if (row.kind == JobKind::kWithdraw) {
        WithdrawalStore(transaction)
            .SetError(IdOf(row.subject), status.raw_code(),
                      std::string(status.message()));
      }
    }
    return absl::OkStatus();
  });
}

Status JobRunner::SettleLast() {
  if (unsettled_) {
    RETURN_IF_ERROR(Settle(unsettled_->row, unsettled_->result));
    unsettled_.reset();
  }
  return absl::OkStatus();
}

StatusOr<bool> JobRunner::RunNext() {
  // Else its row would stay RUNNING until the next start.
  RETURN_IF_ERROR(SettleLast());
  std::optional<JobRow> row;
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    row = JobStore(transaction).TakeDue(core_.now_s());
    return absl::OkStatus();
  }));
  if (!row) {
    return false;
  }
  CancellationToken* token = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    current_.emplace(Current{*row, std::make_unique<CancellationToken>()});
    token = current_->cancellation.get();
    if (stopping_) {
      token->Cancel();
    }
  }
  const StatusOr<std::optional<int64_t>> result = Execute(*row, *token);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    current_.reset();
  }
  unsettled_.emplace(Ended{*row, result});
  RETURN_IF_ERROR(SettleLast());
  return true;
}

Status JobRunner::RunDue() {
  while (true) {
    ASSIGN_OR_RETURN(const bool ran, RunNext());
    if (!ran) {
      return absl::OkStatus();
    }
  }
}

void JobRunner::Wait() {
  std::chrono::milliseconds wait =
      unsettled_ ? std::chrono::seconds(kFirstRetryS) : kLongestWait;
  std::optional<int64_t> due;
  const Status status = core_.database.Transact([&](Transaction& transaction) {
    due = JobStore(transaction).NextDue();
    return absl::OkStatus();
  });
  if (status.ok() && due) {
    const int64_t seconds = std::max<int64_t>(*due - core_.now_s(), 1);
    wait = std::min<std::chrono::milliseconds>(wait,
                                               std::chrono::seconds(seconds));
  }
  std::unique_lock<std::mutex> lock(mutex_);
  wake_.wait_for(lock, wait, [&] { return stopping_ || woken_; });
  woken_ = false;
}

void JobRunner::Loop() {
  while (true) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) {
        return;
      }
    }
    const StatusOr<bool> ran = RunNext();
    if (!ran.ok()) {
      log::Error("job queue: {}", ran.status().ToString());
    }
    if (!ran.ok() || !*ran) {
      Wait();
    }
  }
}

}  // namespace tributary::coordinator
