#pragma once

// An owner's wish to withdraw, signed with its key: for owners that cannot
// reach the coordinator, or whose certificate has ended. It may travel by any
// means; the operator hands it in.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"

namespace tributary::manifest {

struct WithdrawalRequest {
  std::string federation;
  std::string contribution;    // id
  std::string contributor;     // id
  int64_t request_time_s = 0;  // seconds since the Unix epoch

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  static StatusOr<WithdrawalRequest> FromJson(std::string_view json);

  friend bool operator==(const WithdrawalRequest&,
                         const WithdrawalRequest&) = default;
};

// Envelope JSON over a statement about {contribution, SHA-256 of the request}.
StatusOr<std::string> SignWithdrawalRequest(const WithdrawalRequest& request,
                                            const crypto::PrivateKey& key);
// The request that one of `keys` signed. INVALID_ARGUMENT when malformed,
// UNAUTHENTICATED when none of them did.
StatusOr<WithdrawalRequest> OpenWithdrawalRequest(
    std::string_view envelope_json, const std::vector<crypto::PublicKey>& keys);

}  // namespace tributary::manifest
