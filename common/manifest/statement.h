#pragma once

// In-toto statements (v1): a predicate about subjects, signed in a DSSE
// envelope.

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/dsse.h"
#include "common/crypto/key.h"

namespace tributary::manifest {

inline constexpr std::string_view kPayloadType = "application/vnd.in-toto+json";

// Kinds of predicates; the predicate type is "urn:tributary:<kind>:v1".
inline constexpr std::string_view kAnchorKind = "anchor";
inline constexpr std::string_view kExpertKind = "expert";
inline constexpr std::string_view kReleaseKind = "release";
inline constexpr std::string_view kWithdrawalReceiptKind = "withdrawal-receipt";
inline constexpr std::string_view kWithdrawalRequestKind = "withdrawal-request";
inline constexpr std::string_view kPurgeReceiptKind = "purge-receipt";
inline constexpr std::string_view kAuditCheckpointKind = "audit-checkpoint";
inline constexpr std::string_view kLedgerEntryKind = "ledger-entry";

struct Subject {
  std::string name;
  std::string sha256;  // hexadecimal

  friend bool operator==(const Subject&, const Subject&) = default;
};

struct Statement {
  std::string kind;
  std::vector<Subject> subjects;  // at least one
  std::string predicate_json;     // an object; canonical after FromJson

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  // INVALID_ARGUMENT naming the field that is unknown, missing or wrong.
  static StatusOr<Statement> FromJson(std::string_view json);
};

// The JSON of an envelope over `statement`, signed with `key`.
StatusOr<std::string> SignStatement(const Statement& statement,
                                    const crypto::PrivateKey& key);

// The statement in an envelope. INVALID_ARGUMENT when malformed or not of
// `kind`, UNAUTHENTICATED when `key` did not sign it.
StatusOr<Statement> OpenStatement(std::string_view envelope_json,
                                  std::string_view kind,
                                  const crypto::PublicKey& key);

// The same without verifying: for what came over a trusted way, or to find out
// whose key is needed.
StatusOr<Statement> ReadStatementUnverified(std::string_view envelope_json,
                                            std::string_view kind);

// OK when the statement is about exactly this subject; INVALID_ARGUMENT
// otherwise.
Status CheckSubject(const Statement& statement, const Subject& expected);

}  // namespace tributary::manifest
