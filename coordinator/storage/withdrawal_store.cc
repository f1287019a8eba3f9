#include "coordinator/storage/withdrawal_store.h"

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

constexpr char kSelectWithdrawal[] =
    "SELECT sequence, contribution, state, anchor_digest, new_release, "
    "deleted_blobs, receipt_json, final_receipt_json, create_time_s, "
    "purge_time_s, error_code, error_message, requested_by, reason "
    "FROM withdrawals ";

WithdrawalState ParseWithdrawalState(std::string_view text) {
  if (text == "PURGED") {
    return WithdrawalState::kPurged;
  }
  return text == "REBUILT" ? WithdrawalState::kRebuilt
                           : WithdrawalState::kWithdrawn;
}

WithdrawalRow ReadWithdrawal(Query& query) {
  return {.sequence = query.Integer(0),
          .contribution = query.Text(1),
          .state = ParseWithdrawalState(query.Text(2)),
          .anchor_digest = query.Text(3),
          .new_release = query.OptionalInteger(4),
          .deleted_blobs = query.Text(5),
          .receipt_json = query.Text(6),
          .final_receipt_json = query.Text(7),
          .create_time_s = query.Integer(8),
          .purge_time_s = query.Integer(9),
          .requested_by = query.Text(12),
          .reason = query.Text(13),
          .error_code = static_cast<int>(query.Integer(10)),
          .error_message = query.Text(11)};
}

}  // namespace

std::string_view ToString(WithdrawalState state) {
  switch (state) {
    case WithdrawalState::kRebuilt:
      return "REBUILT";
    case WithdrawalState::kPurged:
      return "PURGED";
    default:
      return "WITHDRAWN";
  }
}

void WithdrawalStore::Add(const WithdrawalRow& row) {
  Execute(transaction_,
          "INSERT INTO withdrawals (contribution, state, anchor_digest, "
          "receipt_json, create_time_s, purge_time_s, requested_by, reason) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          row.contribution, ToString(row.state), row.anchor_digest,
          row.receipt_json, row.create_time_s, row.purge_time_s,
          row.requested_by, row.reason);
  for (const int64_t release : row.withdrawn_releases) {
    Execute(transaction_,
            "INSERT INTO withdrawn_releases (contribution, release) "
            "VALUES (?, ?)",
            row.contribution, release);
  }
}

void WithdrawalStore::ReadReleases(WithdrawalRow& row) {
  Query query(transaction_,
              "SELECT release FROM withdrawn_releases WHERE contribution = ? "
              "ORDER BY release",
              row.contribution);
  while (query.Next()) {
    row.withdrawn_releases.push_back(query.Integer(0));
  }
}

std::optional<WithdrawalRow> WithdrawalStore::Find(
    std::string_view contribution) {
  Query query(
      transaction_,
      (std::string(kSelectWithdrawal) + "WHERE contribution = ?").c_str(),
      contribution);
  if (!query.Next()) {
    return std::nullopt;
  }
  WithdrawalRow row = ReadWithdrawal(query);
  ReadReleases(row);
  return row;
}

std::vector<WithdrawalRow> WithdrawalStore::List(int64_t before,
                                                 int64_t limit) {
  std::vector<WithdrawalRow> rows;
  const std::string sql = std::string(kSelectWithdrawal) +
                          "WHERE sequence < ? ORDER BY sequence DESC LIMIT ?";
  Query query(transaction_, sql.c_str(), before, limit);
  while (query.Next()) {
    rows.push_back(ReadWithdrawal(query));
  }
  for (WithdrawalRow& row : rows) {
    ReadReleases(row);
  }
  return rows;
}

void WithdrawalStore::SetNewRelease(std::string_view contribution,
                                    std::optional<int64_t> release) {
  Execute(transaction_,
          "UPDATE withdrawals SET new_release = ? WHERE contribution = ?",
          release, contribution);
}

void WithdrawalStore::SetState(std::string_view contribution,
                               WithdrawalState state) {
  Execute(transaction_,
          "UPDATE withdrawals SET state = ? WHERE contribution = ?",
          ToString(state), contribution);
}

void WithdrawalStore::SetDeletedBlobs(std::string_view contribution,
                                      std::string_view names) {
  Execute(transaction_,
          "UPDATE withdrawals SET deleted_blobs = ? WHERE contribution = ?",
          names, contribution);
}

void WithdrawalStore::SetFinalReceipt(std::string_view contribution,
                                      std::string_view json) {
  Execute(transaction_,
          "UPDATE withdrawals SET final_receipt_json = ? "
          "WHERE contribution = ?",
          json, contribution);
}

void WithdrawalStore::SetError(std::string_view contribution, int code,
                               std::string_view message) {
  Execute(transaction_,
          "UPDATE withdrawals SET error_code = ?, error_message = ? "
          "WHERE contribution = ?",
          code, message, contribution);
}

}  // namespace tributary::coordinator
