#include "coordinator/storage/job_store.h"

#include <fmt/format.h>

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

constexpr char kSelectJob[] =
    "SELECT sequence, kind, subject, state, due_time_s, attempts FROM jobs ";
constexpr char kOrder[] =
    " ORDER BY CASE kind WHEN 'withdraw' THEN 0 WHEN 'build_release' THEN 1 "
    "ELSE 2 END, sequence";

JobKind ParseKind(std::string_view text) {
  if (text == "withdraw") {
    return JobKind::kWithdraw;
  }
  return text == "build_release" ? JobKind::kBuildRelease : JobKind::kValidate;
}

JobRow ReadJob(Query& query) {
  return {.sequence = query.Integer(0),
          .kind = ParseKind(query.Text(1)),
          .subject = query.Text(2),
          .running = query.Text(3) == "RUNNING",
          .due_time_s = query.Integer(4),
          .attempts = query.Integer(5)};
}

}  // namespace

std::string_view ToString(JobKind kind) {
  switch (kind) {
    case JobKind::kWithdraw:
      return "withdraw";
    case JobKind::kBuildRelease:
      return "build_release";
    default:
      return "validate";
  }
}

std::string JobRow::id() const {
  return fmt::format("{}-{}", ToString(kind), sequence);
}

void JobStore::Add(JobKind kind, std::string_view subject, int64_t due_time_s,
                   int64_t now_s) {
  Execute(transaction_,
          "INSERT INTO jobs (kind, subject, state, due_time_s, create_time_s) "
          "VALUES (?, ?, 'QUEUED', ?, ?) ON CONFLICT (kind, subject) "
          "DO UPDATE SET due_time_s = min(due_time_s, excluded.due_time_s)",
          ToString(kind), subject, due_time_s, now_s);
}

std::optional<JobRow> JobStore::FindDue(JobKind kind, int64_t now_s) {
  const std::string sql = std::string(kSelectJob) +
                          "WHERE state = 'QUEUED' AND kind = ? AND "
                          "due_time_s <= ? ORDER BY sequence LIMIT 1";
  Query query(transaction_, sql.c_str(), ToString(kind), now_s);
  if (!query.Next()) {
    return std::nullopt;
  }
  return ReadJob(query);
}

std::optional<JobRow> JobStore::TakeDue(int64_t now_s) {
  std::optional<JobRow> row;
  for (const JobKind kind :
       {JobKind::kWithdraw, JobKind::kBuildRelease, JobKind::kValidate}) {
    row = row ? row : FindDue(kind, now_s);
  }
  if (!row) {
    return std::nullopt;
  }
  Execute(transaction_,
          "UPDATE jobs SET state = 'RUNNING', attempts = attempts + 1 "
          "WHERE sequence = ?",
          row->sequence);
  row->running = true;
  ++row->attempts;
  return row;
}

std::optional<int64_t> JobStore::NextDue() {
  Query query(transaction_,
              "SELECT min(due_time_s) FROM jobs WHERE state = 'QUEUED'");
  query.Next();
  return query.OptionalInteger(0);
}

void JobStore::Requeue(int64_t sequence, int64_t due_time_s) {
  Execute(transaction_,
          "UPDATE jobs SET state = 'QUEUED', due_time_s = ? "
          "WHERE sequence = ?",
          due_time_s, sequence);
}

void JobStore::Remove(int64_t sequence) {
  Execute(transaction_, "DELETE FROM jobs WHERE sequence = ?", sequence);
}

int JobStore::RequeueRunning(int64_t now_s) {
  Execute(transaction_,
          "UPDATE jobs SET due_time_s = min(due_time_s, ?1), "
          "create_time_s = min(create_time_s, ?1) WHERE kind != ?2",
          now_s, ToString(JobKind::kWithdraw));
  Execute(transaction_,
          "UPDATE jobs SET due_time_s = due_time_s - (create_time_s - ?1), "
          "create_time_s = ?1 WHERE create_time_s > ?1",
          now_s);
  return Execute(transaction_,
                 "UPDATE jobs SET state = 'QUEUED' WHERE state = 'RUNNING'");
}

std::vector<JobRow> JobStore::List() {
  Query query(transaction_, (std::string(kSelectJob) + kOrder).c_str());
  std::vector<JobRow> rows;
  while (query.Next()) {
    rows.push_back(ReadJob(query));
  }
  return rows;
}

}  // namespace tributary::coordinator
