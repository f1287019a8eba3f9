#include "coordinator/storage/release_store.h"

#include <array>
#include <utility>

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

constexpr std::array<std::pair<ReleaseState, std::string_view>, 5>
    kReleaseStates = {{{ReleaseState::kBuilding, "BUILDING"},
                       {ReleaseState::kPublished, "PUBLISHED"},
                       {ReleaseState::kSuperseded, "SUPERSEDED"},
                       {ReleaseState::kWithdrawn, "WITHDRAWN"},
                       {ReleaseState::kFailed, "FAILED"}}};

constexpr char kSelectRelease[] =
    "SELECT number, state, anchor_digest, router_mode, digest, manifest_json, "
    "envelope_json, reason, create_time_s FROM releases ";

ReleaseState ParseReleaseState(std::string_view text) {
  for (const auto& [value, name] : kReleaseStates) {
    if (name == text) {
      return value;
    }
  }
  return ReleaseState::kFailed;
}

template <typename... Args>
std::vector<ReleaseRow> ReadReleases(Transaction& transaction, const char* rest,
                                     const Args&... args) {
  Query query(transaction, (std::string(kSelectRelease) + rest).c_str(),
              args...);
  std::vector<ReleaseRow> rows;
  while (query.Next()) {
    rows.push_back({.number = query.Integer(0),
                    .state = ParseReleaseState(query.Text(1)),
                    .anchor_digest = query.Text(2),
                    .router_mode = query.Text(3),
                    .digest = query.Text(4),
                    .manifest_json = query.Text(5),
                    .envelope_json = query.Text(6),
                    .reason = query.Text(7),
                    .create_time_s = query.Integer(8)});
  }
  return rows;
}

std::optional<ReleaseRow> First(std::vector<ReleaseRow> rows) {
  return rows.empty() ? std::nullopt
                      : std::optional<ReleaseRow>(std::move(rows[0]));
}

}  // namespace

std::string_view ToString(ReleaseState state) {
  for (const auto& [value, name] : kReleaseStates) {
    if (value == state) {
      return name;
    }
  }
  return "";
}

int64_t ReleaseStore::Create(std::string_view anchor_digest,
                             std::string_view router_mode,
                             const std::vector<std::string>& contributions,
                             int64_t now_s) {
  Query insert(transaction_,
               "INSERT INTO releases (state, anchor_digest, router_mode, "
               "create_time_s) VALUES ('BUILDING', ?, ?, ?) RETURNING number",
               anchor_digest, router_mode, now_s);
  insert.Next();
  const int64_t number = insert.Integer(0);
  for (const std::string& contribution : contributions) {
    Execute(transaction_,
            "INSERT INTO release_experts (release, contribution) VALUES (?, ?)",
            number, contribution);
  }
  return number;
}

void ReleaseStore::AddWithdrawn(const ReleaseRow& row) {
  Execute(transaction_,
          "INSERT INTO releases (number, state, anchor_digest, router_mode, "
          "digest, reason, create_time_s) "
          "VALUES (?, 'WITHDRAWN', ?, ?, ?, ?, ?)",
          row.number, row.anchor_digest, row.router_mode, row.digest,
          row.reason, row.create_time_s);
}

std::optional<ReleaseRow> ReleaseStore::Find(int64_t number) {
  return First(ReadReleases(transaction_, "WHERE number = ?", number));
}

std::optional<ReleaseRow> ReleaseStore::Latest() {
  return First(ReadReleases(transaction_,
                            "WHERE state IN ('PUBLISHED', 'SUPERSEDED') "
                            "ORDER BY number DESC LIMIT 1"));
}

std::vector<ReleaseRow> ReleaseStore::List(int64_t before, int64_t limit) {
  return ReadReleases(transaction_,
                      "WHERE number < ? ORDER BY number DESC LIMIT ?", before,
                      limit);
}

std::vector<std::string> ReleaseStore::ContributionsOf(int64_t number) {
  Query query(transaction_,
              "SELECT contribution FROM release_experts WHERE release = ? "
              "ORDER BY contribution",
              number);
  std::vector<std::string> ids;
  while (query.Next()) {
    ids.push_back(query.Text(0));
  }
  return ids;
}

std::vector<ReleaseRow> ReleaseStore::ListHolding(
    std::string_view contribution) {
  return ReadReleases(
      transaction_,
      "WHERE number IN (SELECT release FROM release_experts WHERE "
      "contribution = ?) ORDER BY number",
      contribution);
}

void ReleaseStore::RefreshLatest() {
  int64_t newest = 0;
  {
    Query query(transaction_,
                "SELECT coalesce(max(number), 0) FROM releases "
                "WHERE state IN ('PUBLISHED', 'SUPERSEDED')");
    query.Next();
    newest = query.Integer(0);
  }
  Execute(transaction_,
          "UPDATE releases SET state = 'SUPERSEDED' "
          "WHERE state = 'PUBLISHED' AND number <> ?",
          newest);
  Execute(transaction_,
          "UPDATE releases SET state = 'PUBLISHED' "
          "WHERE number = ? AND state = 'SUPERSEDED'",
          newest);
}

void ReleaseStore::Publish(const ReleaseRow& row) {
  Execute(transaction_,
          "UPDATE releases SET state = 'PUBLISHED', digest = ?, "
          "manifest_json = ?, envelope_json = ?, create_time_s = ? "
          "WHERE number = ?",
          row.digest, row.manifest_json, row.envelope_json, row.create_time_s,
          row.number);
  RefreshLatest();
}

void ReleaseStore::SetState(int64_t number, ReleaseState state,
                            std::string_view reason) {
  Execute(transaction_,
          "UPDATE releases SET state = ?, reason = ? WHERE number = ?",
          ToString(state), reason, number);
  RefreshLatest();
}

void ReleaseStore::Erase(int64_t number) {
  Execute(transaction_,
          "UPDATE releases SET manifest_json = '', envelope_json = '' "
          "WHERE number = ?",
          number);
  Execute(transaction_, "DELETE FROM evaluations WHERE release = ?", number);
}

void ReleaseStore::PutEvaluations(
    int64_t number, std::string_view evaluator,
    const std::vector<EvaluationRow>& evaluations) {
  Execute(transaction_,
          "DELETE FROM evaluations WHERE release = ? AND evaluator = ?", number,
          evaluator);
  for (const EvaluationRow& row : evaluations) {
    Execute(transaction_,
            "INSERT INTO evaluations (release, evaluator, text_label, model, "
            "log_loss, tokens) VALUES (?, ?, ?, ?, ?, ?)",
            number, evaluator, row.text_label, row.model, row.log_loss,
            row.tokens);
  }
}

std::vector<EvaluationRow> ReleaseStore::EvaluationsOf(int64_t number) {
  Query query(transaction_,
              "SELECT evaluator, text_label, model, log_loss, tokens "
              "FROM evaluations WHERE release = ? "
              "ORDER BY evaluator, text_label, model",
              number);
  std::vector<EvaluationRow> rows;
  while (query.Next()) {
    rows.push_back({.evaluator = query.Text(0),
                    .text_label = query.Text(1),
                    .model = query.Text(2),
                    .log_loss = query.Real(3),
                    .tokens = query.Integer(4)});
  }
  return rows;
}

}  // namespace tributary::coordinator
