#pragma once

// Who agreed to a report: one person or several, with or without keys of their
// own.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "contributor/egress/report.h"

namespace tributary::contributor {

// One person's yes.
struct Approval {
  std::string approver;  // a person's name, or "policy ..."
  int64_t time_s = 0;    // seconds since the Unix epoch
  // DSSE envelope over the report's digest, signed with the approver's own
  // key; empty where the rules name no keys.
  std::string envelope_json;
};

// All of them, for one report.
struct Consent {
  std::string report_digest;
  std::string policy_version;
  std::string mode;  // "person" or "automatic"
  std::vector<Approval> approvals;

  StatusOr<std::string> ToJson() const;
  // INVALID_ARGUMENT names what is wrong; `what` begins the message.
  static StatusOr<Consent> FromJson(std::string_view json,
                                    const std::string& what);
  // "Ada, Grace".
  std::string Names() const;
};

// What an approver signs.
struct ApprovalStatement {
  std::string contribution;
  std::string report_digest;
  std::string approver;
  int64_t time_s = 0;
};
StatusOr<std::string> SignApproval(const ApprovalStatement& statement,
                                   const crypto::PrivateKey& key);

// How many of the approvals count under `rules`: of different persons, and,
// where the rules name keys, signed with different ones of them.
// UNAUTHENTICATED for an approval whose signature does not hold.
StatusOr<int> CountApprovals(const Consent& consent, const SiteRules& rules,
                             const std::string& contribution);

// FAILED_PRECONDITION, with what to do, unless enough approvals count.
Status CheckConsent(const Consent& consent, const SiteRules& rules,
                    const std::string& contribution);

}  // namespace tributary::contributor
