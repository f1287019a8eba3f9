#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/crypto/key.h"
#include "coordinator/storage/database.h"

namespace tributary::coordinator {

enum class ContributorState { kInvited, kEnrolled, kRevoked };

// "INVITED", ...
std::string_view ToString(ContributorState state);

// What the operator decided for one contributor; what is not set is as the
// configuration says for everyone.
struct ContributorPolicy {
  std::optional<int64_t> max_width;  // channels in any layer
  std::optional<int64_t> max_bytes;  // stored and in flight
  std::optional<int64_t> max_contributions;
  std::optional<bool> require_operator;

  friend bool operator==(const ContributorPolicy&,
                         const ContributorPolicy&) = default;
};

struct ContributorRow {
  std::string id;
  ContributorState state = ContributorState::kInvited;
  int64_t create_time_s = 0;
  int64_t certificate_expire_time_s = 0;
  ContributorPolicy policy;
};

struct InvitationRow {
  std::string secret_sha256;
  std::string contributor;
  int64_t create_time_s = 0;
  int64_t expire_time_s = 0;
  std::optional<int64_t> use_time_s;
};

struct CertificateRow {
  std::string serial;
  std::string contributor;
  std::string key_id;
  std::string pem;
  int64_t create_time_s = 0;
  int64_t expire_time_s = 0;
};

// Data owners, how they got in and the keys they had.
class ContributorStore {
 public:
  explicit ContributorStore(Transaction& transaction)
      : transaction_(transaction) {}

  std::optional<ContributorRow> Find(std::string_view id);
  // By id, behind `after`.
  std::vector<ContributorRow> List(std::string_view after, int64_t limit);
  int64_t Count();
  // INVITED, unless the contributor is there already.
  void EnsureInvited(std::string_view id, int64_t now_s);
  void SetState(std::string_view id, ContributorState state);
  void SetPolicy(std::string_view id, const ContributorPolicy& policy);

  void AddInvitation(const InvitationRow& invitation);
  std::optional<InvitationRow> FindInvitation(std::string_view secret_sha256);
  void UseInvitation(std::string_view secret_sha256, int64_t now_s);
  // The one that can still be used.
  std::optional<InvitationRow> FindOpenInvitation(std::string_view contributor,
                                                  int64_t now_s);
  // Those that can still be used, by contributor, behind `after`.
  std::vector<InvitationRow> ListOpenInvitations(std::string_view after,
                                                 int64_t now_s, int64_t limit);
  // Unused invitations of the contributor stop working.
  void DropInvitations(std::string_view contributor);

  // Records a certificate and moves the contributor's expiry.
  void AddCertificate(const CertificateRow& certificate);
  // Records one that only serves to check signatures.
  void RecordCertificate(const CertificateRow& certificate);
  // Those of enrolled contributors that have not ended.
  std::vector<CertificateRow> LiveCertificates(int64_t now_s);
  // The newest of every key of every contributor.
  std::vector<CertificateRow> NewestCertificates();
  // Every key that was ever certified for the contributor, newest first.
  StatusOr<std::vector<crypto::PublicKey>> KeysOf(std::string_view contributor);
  // The newest certificate of that key.
  std::optional<CertificateRow> FindCertificate(std::string_view contributor,
                                                std::string_view key_id);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
