#include "coordinator/storage/contributor_store.h"

#include "common/crypto/certificate.h"
#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

constexpr char kColumns[] =
    "id, state, create_time_s, certificate_expire_time_s, max_width, "
    "max_bytes, max_contributions, require_operator";

ContributorState ParseContributorState(const std::string& text) {
  if (text == "ENROLLED") {
    return ContributorState::kEnrolled;
  }
  return text == "REVOKED" ? ContributorState::kRevoked
                           : ContributorState::kInvited;
}

ContributorRow ReadContributor(Query& query) {
  ContributorRow row{.id = query.Text(0),
                     .state = ParseContributorState(query.Text(1)),
                     .create_time_s = query.Integer(2),
                     .certificate_expire_time_s = query.Integer(3)};
  row.policy = {.max_width = query.OptionalInteger(4),
                .max_bytes = query.OptionalInteger(5),
                .max_contributions = query.OptionalInteger(6)};
  if (const auto required = query.OptionalInteger(7)) {
    row.policy.require_operator = *required != 0;
  }
  return row;
}

CertificateRow ReadCertificate(Query& query) {
  return {.serial = query.Text(0),
          .contributor = query.Text(1),
          .key_id = query.Text(2),
          .pem = query.Text(3),
          .create_time_s = query.Integer(4),
          .expire_time_s = query.Integer(5)};
}

}  // namespace

std::string_view ToString(ContributorState state) {
  switch (state) {
    case ContributorState::kEnrolled:
      return "ENROLLED";
    case ContributorState::kRevoked:
      return "REVOKED";
    default:
      return "INVITED";
  }
}

std::optional<ContributorRow> ContributorStore::Find(std::string_view id) {
  const std::string sql =
      std::string("SELECT ") + kColumns + " FROM contributors WHERE id = ?";
  Query query(transaction_, sql.c_str(), id);
  if (!query.Next()) {
    return std::nullopt;
  }
  return ReadContributor(query);
}

std::vector<ContributorRow> ContributorStore::List(std::string_view after,
                                                   int64_t limit) {
  const std::string sql = std::string("SELECT ") + kColumns +
                          " FROM contributors WHERE id > ? ORDER BY id LIMIT ?";
  Query query(transaction_, sql.c_str(), after, limit);
  std::vector<ContributorRow> rows;
  while (query.Next()) {
    rows.push_back(ReadContributor(query));
  }
  return rows;
}

int64_t ContributorStore::Count() {
  Query query(transaction_, "SELECT count(*) FROM contributors");
  query.Next();
  return query.Integer(0);
}

void ContributorStore::EnsureInvited(std::string_view id, int64_t now_s) {
  Execute(transaction_,
          "INSERT INTO contributors (id, state, create_time_s) "
          "VALUES (?, 'INVITED', ?) ON CONFLICT (id) DO NOTHING",
          id, now_s);
}

void ContributorStore::SetState(std::string_view id, ContributorState state) {
  Execute(transaction_, "UPDATE contributors SET state = ? WHERE id = ?",
          ToString(state), id);
}

void ContributorStore::SetPolicy(std::string_view id,
                                 const ContributorPolicy& policy) {
  std::optional<int64_t> required;
  if (policy.require_operator) {
    required = *policy.require_operator ? 1 : 0;
  }
  Execute(transaction_,
          "UPDATE contributors SET max_width = ?, max_bytes = ?, "
          "max_contributions = ?, require_operator = ? WHERE id = ?",
          policy.max_width, policy.max_bytes, policy.max_contributions,
          required, id);
}

void ContributorStore::AddInvitation(const InvitationRow& row) {
  Execute(transaction_,
          "INSERT INTO invitations (secret_sha256, contributor, create_time_s, "
          "expire_time_s, use_time_s) VALUES (?, ?, ?, ?, ?)",
          row.secret_sha256, row.contributor, row.create_time_s,
          row.expire_time_s, row.use_time_s);
}

std::optional<InvitationRow> ContributorStore::FindInvitation(
    std::string_view secret_sha256) {
  Query query(transaction_,
              "SELECT secret_sha256, contributor, create_time_s, "
              "expire_time_s, use_time_s FROM invitations "
              "WHERE secret_sha256 = ?",
              secret_sha256);
  if (!query.Next()) {
    return std::nullopt;
  }
  return InvitationRow{.secret_sha256 = query.Text(0),
                       .contributor = query.Text(1),
                       .create_time_s = query.Integer(2),
                       .expire_time_s = query.Integer(3),
                       .use_time_s = query.OptionalInteger(4)};
}

std::optional<InvitationRow> ContributorStore::FindOpenInvitation(
    std::string_view contributor, int64_t now_s) {
  Query query(transaction_,
              "SELECT secret_sha256, create_time_s, expire_time_s FROM "
              "invitations WHERE use_time_s IS NULL AND contributor = ? AND "
              "expire_time_s > ?",
              contributor, now_s);
  if (!query.Next()) {
    return std::nullopt;
  }
  return InvitationRow{.secret_sha256 = query.Text(0),
                       .contributor = std::string(contributor),
                       .create_time_s = query.Integer(1),
                       .expire_time_s = query.Integer(2)};
}

std::vector<InvitationRow> ContributorStore::ListOpenInvitations(
    std::string_view after, int64_t now_s, int64_t limit) {
  Query query(transaction_,
              "SELECT secret_sha256, contributor, create_time_s, "
              "expire_time_s FROM invitations WHERE use_time_s IS NULL AND "
              "contributor > ? AND expire_time_s > ? ORDER BY contributor "
              "LIMIT ?",
              after, now_s, limit);
  std::vector<InvitationRow> rows;
  while (query.Next()) {
    rows.push_back({.secret_sha256 = query.Text(0),
                    .contributor = query.Text(1),
                    .create_time_s = query.Integer(2),
                    .expire_time_s = query.Integer(3)});
  }
  return rows;
}

void ContributorStore::UseInvitation(std::string_view secret_sha256,
                                     int64_t now_s) {
  Execute(transaction_,
          "UPDATE invitations SET use_time_s = ? WHERE secret_sha256 = ?",
          now_s, secret_sha256);
}

void ContributorStore::DropInvitations(std::string_view contributor) {
  Execute(transaction_,
          "DELETE FROM invitations WHERE contributor = ? "
          "AND use_time_s IS NULL",
          contributor);
}

void ContributorStore::RecordCertificate(const CertificateRow& row) {
  Execute(transaction_,
          "INSERT INTO certificates (serial, contributor, key_id, pem, "
          "create_time_s, expire_time_s) VALUES (?, ?, ?, ?, ?, ?)",
          row.serial, row.contributor, row.key_id, row.pem, row.create_time_s,
          row.expire_time_s);
}

void ContributorStore::AddCertificate(const CertificateRow& row) {
  RecordCertificate(row);
  Execute(transaction_,
          "UPDATE contributors SET certificate_expire_time_s = ? WHERE id = ?",
          row.expire_time_s, row.contributor);
}

StatusOr<std::vector<crypto::PublicKey>> ContributorStore::KeysOf(
    std::string_view contributor) {
  Query query(transaction_,
              "SELECT pem FROM certificates WHERE contributor = ? "
              "GROUP BY key_id ORDER BY max(expire_time_s) DESC",
              contributor);
  std::vector<crypto::PublicKey> keys;
  while (query.Next()) {
    ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                     crypto::Certificate::FromPem(query.Text(0)));
    keys.push_back(certificate.public_key());
  }
  return keys;
}

std::optional<CertificateRow> ContributorStore::FindCertificate(
    std::string_view contributor, std::string_view key_id) {
  Query query(transaction_,
              "SELECT serial, contributor, key_id, pem, create_time_s, "
              "expire_time_s FROM certificates WHERE contributor = ? AND "
              "key_id = ? ORDER BY rowid DESC LIMIT 1",
              contributor, key_id);
  if (!query.Next()) {
    return std::nullopt;
  }
  return ReadCertificate(query);
}

std::vector<CertificateRow> ContributorStore::LiveCertificates(int64_t now_s) {
  Query query(transaction_,
              "SELECT c.serial, c.contributor, c.key_id, c.pem, "
              "c.create_time_s, c.expire_time_s FROM certificates AS c "
              "JOIN contributors AS o ON o.id = c.contributor "
              "WHERE c.expire_time_s > ? AND o.state = 'ENROLLED' "
              "ORDER BY c.contributor",
              now_s);
  std::vector<CertificateRow> rows;
  while (query.Next()) {
    rows.push_back(ReadCertificate(query));
  }
  return rows;
}

std::vector<CertificateRow> ContributorStore::NewestCertificates() {
  // With max() the other columns are those of its row.
  Query query(transaction_,
              "SELECT serial, contributor, key_id, pem, create_time_s, "
              "expire_time_s, max(rowid) FROM certificates "
              "GROUP BY contributor, key_id");
  std::vector<CertificateRow> rows;
  while (query.Next()) {
    rows.push_back(ReadCertificate(query));
  }
  return rows;
}

}  // namespace tributary::coordinator
