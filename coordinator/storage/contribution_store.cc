#include "coordinator/storage/contribution_store.h"

#include <array>
#include <utility>

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

constexpr std::array<std::pair<ContributionState, std::string_view>, 9>
    kContributionStates = {{{ContributionState::kCreated, "CREATED"},
                            {ContributionState::kUploading, "UPLOADING"},
                            {ContributionState::kSubmitted, "SUBMITTED"},
                            {ContributionState::kValidating, "VALIDATING"},
                            {ContributionState::kAccepted, "ACCEPTED"},
                            {ContributionState::kQuarantined, "QUARANTINED"},
                            {ContributionState::kRejected, "REJECTED"},
                            {ContributionState::kWithdrawn, "WITHDRAWN"},
                            {ContributionState::kPurged, "PURGED"}}};

constexpr char kSelectContribution[] =
    "SELECT sequence, id, contributor, state, anchor_digest, blob, "
    "manifest_digest, manifest_json, envelope_json, decision_json, "
    "create_time_s, update_time_s, "
    "CASE WHEN state IN ('WITHDRAWN', 'PURGED') THEN (SELECT create_time_s "
    "FROM withdrawals WHERE contribution = contributions.id) END, "
    "CASE WHEN state IN ('WITHDRAWN', 'PURGED') THEN (SELECT purge_time_s "
    "FROM withdrawals WHERE contribution = contributions.id) END "
    "FROM contributions ";

ContributionRow ReadContribution(Query& query) {
  return {.sequence = query.Integer(0),
          .id = query.Text(1),
          .contributor = query.Text(2),
          .state = ParseContributionState(query.Text(3))
                       .value_or(ContributionState::kPurged),
          .anchor_digest = query.Text(4),
          .blob = query.Text(5),
          .manifest_digest = query.Text(6),
          .manifest_json = query.Text(7),
          .envelope_json = query.Text(8),
          .decision_json = query.Text(9),
          .create_time_s = query.Integer(10),
          .update_time_s = query.Integer(11),
          .delete_time_s = query.Integer(12),
          .purge_time_s = query.Integer(13)};
}

std::vector<ContributionRow> ReadContributions(Query& query) {
  std::vector<ContributionRow> rows;
  while (query.Next()) {
    rows.push_back(ReadContribution(query));
  }
  return rows;
}

int64_t Count(Query& query) {
  query.Next();
  return query.Integer(0);
}

}  // namespace

std::string_view ToString(ContributionState state) {
  for (const auto& [value, name] : kContributionStates) {
    if (value == state) {
      return name;
    }
  }
  return "";
}

std::optional<ContributionState> ParseContributionState(std::string_view text) {
  for (const auto& [value, name] : kContributionStates) {
    if (name == text) {
      return value;
    }
  }
  return std::nullopt;
}

void ContributionStore::Add(const ContributionRow& row) {
  Execute(transaction_,
          "INSERT INTO contributions (id, contributor, state, anchor_digest, "
          "blob, manifest_digest, manifest_json, envelope_json, decision_json, "
          "create_time_s, update_time_s, size_bytes) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
          "CAST(substr(?5, 79) AS INTEGER) + ?12)",
          row.id, row.contributor, ToString(row.state), row.anchor_digest,
          row.blob, row.manifest_digest, row.manifest_json, row.envelope_json,
          row.decision_json, row.create_time_s, row.update_time_s,
          row.extra_bytes);
}

std::optional<ContributionRow> ContributionStore::Find(std::string_view id) {
  Query query(transaction_,
              (std::string(kSelectContribution) + "WHERE id = ?").c_str(), id);
  if (!query.Next()) {
    return std::nullopt;
  }
  return ReadContribution(query);
}

std::vector<ContributionRow> ContributionStore::List(
    const ContributionFilter& filter, int64_t before, int64_t limit) {
  // Only the conditions that there are: others would keep it from an index.
  std::string sql = std::string(kSelectContribution) + "WHERE sequence < ?1";
  if (!filter.contributor.empty()) {
    sql += " AND contributor = ?3";
  }
  if (filter.state) {
    sql += " AND state = ?4";
  }
  if (!filter.anchor_digest.empty()) {
    sql += " AND anchor_digest = ?5";
  }
  // SQLite wants every number up to the highest to be there.
  sql +=
      " AND (?3 IS ?3 AND ?4 IS ?4 AND ?5 IS ?5) "
      "ORDER BY sequence DESC LIMIT ?2";
  Query query(transaction_, sql.c_str(), before, limit, filter.contributor,
              filter.state ? ToString(*filter.state) : std::string_view(),
              filter.anchor_digest);
  return ReadContributions(query);
}

std::vector<ContributionRow> ContributionStore::ListAccepted(
    std::string_view anchor_digest) {
  const std::string sql =
      std::string(kSelectContribution) +
      "WHERE state = 'ACCEPTED' AND anchor_digest = ? ORDER BY id";
  Query query(transaction_, sql.c_str(), anchor_digest);
  return ReadContributions(query);
}

std::vector<std::string> ContributionStore::ListAcceptedIds(
    std::string_view anchor_digest) {
  Query query(transaction_,
              "SELECT id FROM contributions WHERE state = 'ACCEPTED' AND "
              "anchor_digest = ? ORDER BY id",
              anchor_digest);
  std::vector<std::string> ids;
  while (query.Next()) {
    ids.push_back(query.Text(0));
  }
  return ids;
}

int64_t ContributionStore::CountAccepted() {
  Query query(transaction_,
              "SELECT count(*) FROM contributions WHERE state = 'ACCEPTED'");
  return Count(query);
}

std::vector<std::pair<std::string, int64_t>> ContributionStore::CountByState() {
  Query query(transaction_,
              "SELECT state, count(*) FROM contributions GROUP BY state "
              "ORDER BY state");
  std::vector<std::pair<std::string, int64_t>> counts;
  while (query.Next()) {
    counts.emplace_back(query.Text(0), query.Integer(1));
  }
  return counts;
}

int64_t ContributionStore::CountLive(std::string_view contributor) {
  Query query(transaction_,
              "SELECT count(*) FROM contributions WHERE contributor = ? AND "
              "state NOT IN ('WITHDRAWN', 'PURGED')",
              contributor);
  return Count(query);
}

void ContributionStore::SetState(std::string_view id, ContributionState state,
                                 int64_t now_s) {
  Execute(transaction_,
          "UPDATE contributions SET state = ?, update_time_s = ? WHERE id = ?",
          ToString(state), now_s, id);
}

void ContributionStore::SetDecision(std::string_view id,
                                    std::string_view decision_json,
                                    int64_t now_s) {
  Execute(transaction_,
          "UPDATE contributions SET decision_json = ?, update_time_s = ? "
          "WHERE id = ?",
          decision_json, now_s, id);
}

void ContributionStore::Erase(std::string_view id) {
  Execute(transaction_,
          "UPDATE contributions SET manifest_json = '', envelope_json = '', "
          "decision_json = '' WHERE id = ?",
          id);
}

}  // namespace tributary::coordinator
