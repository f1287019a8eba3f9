#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// A unit of background work. Jobs can be run again at any time: each looks at
// the state that it finds.
enum class JobKind {
  kValidate,      // subject: contributions/x
  kBuildRelease,  // subject: releases/n
  kWithdraw,      // subject: withdrawals/x
};

// "validate", ...
std::string_view ToString(JobKind kind);

struct JobRow {
  int64_t sequence = 0;
  JobKind kind = JobKind::kValidate;
  std::string subject;
  bool running = false;
  int64_t due_time_s = 0;
  int64_t attempts = 0;

  // Name of its working folder.
  std::string id() const;
};

// The durable queue. Withdrawals go first, then builds, then validations.
class JobStore {
 public:
  explicit JobStore(Transaction& transaction) : transaction_(transaction) {}

  // Queues a job; one that is queued already is kept, due at the earlier time.
  void Add(JobKind kind, std::string_view subject, int64_t due_time_s,
           int64_t now_s);
  // Marks the first job that is due as running and counts the attempt.
  std::optional<JobRow> TakeDue(int64_t now_s);
  // The earliest due time of a job that waits.
  std::optional<int64_t> NextDue();
  void Requeue(int64_t sequence, int64_t due_time_s);
  void Remove(int64_t sequence);
  // After a restart: what ran waits again, checks and builds are due at once,
  // and withdrawals that seem to be made in the future are made now: a clock
  // that was ahead delays nothing. Returns how many ran.
  int RequeueRunning(int64_t now_s);
  std::vector<JobRow> List();

 private:
  // The oldest of a kind that is due.
  std::optional<JobRow> FindDue(JobKind kind, int64_t now_s);

  Transaction& transaction_;
};

}  // namespace tributary::coordinator
