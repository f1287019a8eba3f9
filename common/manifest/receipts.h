#pragma once

// What a contributor gets in its hand when it opts out: one receipt at once,
// for the tombstone, and one after the purge.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/blob_name.h"

namespace tributary::manifest {

// A release and the digest of its manifest.
struct ReleaseReference {
  std::string name;    // "releases/{number}"
  std::string digest;  // hexadecimal
  friend bool operator==(const ReleaseReference&,
                         const ReleaseReference&) = default;
};

// The audit log's head when the receipt was made.
struct AuditHead {
  int64_t size = 0;
  std::string head_hash;  // hexadecimal
  friend bool operator==(const AuditHead&, const AuditHead&) = default;
};

// Who withdrew in the owner's place, and why.
struct OnBehalf {
  std::string by;      // an identity
  std::string reason;  // for a person
  friend bool operator==(const OnBehalf&, const OnBehalf&) = default;
};

// From `withdraw_time_s` on, none of these releases is served.
struct WithdrawalReceipt {
  std::string federation;
  std::string contribution;  // id
  std::string contributor;   // id
  BlobName expert_blob;
  std::vector<ReleaseReference> withdrawn_releases;
  int64_t withdraw_time_s = 0;  // seconds since the Unix epoch
  int64_t purge_time_s = 0;     // when the purge is due
  AuditHead audit;
  std::optional<OnBehalf> on_behalf;  // absent: the owner asked

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  static StatusOr<WithdrawalReceipt> FromJson(std::string_view json);

  friend bool operator==(const WithdrawalReceipt&,
                         const WithdrawalReceipt&) = default;
};

// These bytes are deleted.
struct PurgeReceipt {
  struct KeptBlob {
    BlobName blob;
    std::string reason;  // for a person, such as "part of contributions/b"
    friend bool operator==(const KeptBlob&, const KeptBlob&) = default;
  };
  std::string federation;
  std::string contribution;  // id
  std::string contributor;   // id
  BlobName expert_blob;      // the one that was withdrawn
  std::vector<BlobName> deleted_blobs;
  std::vector<KeptBlob> kept_blobs;
  std::vector<ReleaseReference> withdrawn_releases;
  std::optional<ReleaseReference> new_release;  // none was needed: null
  int64_t purge_time_s = 0;  // when it was done, seconds since the Unix epoch
  AuditHead audit;
  // What the receipt does not cover.
  std::vector<std::string> outside = {
      "backups made before the purge",
      "copies of withdrawn releases that readers already hold"};

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  static StatusOr<PurgeReceipt> FromJson(std::string_view json);

  friend bool operator==(const PurgeReceipt&, const PurgeReceipt&) = default;
};

// Envelope JSON over a statement about {contribution, SHA-256 of the expert
// file}. Opening: INVALID_ARGUMENT when malformed, UNAUTHENTICATED when not
// signed by `signer`.
StatusOr<std::string> SignWithdrawalReceipt(const WithdrawalReceipt& receipt,
                                            const crypto::PrivateKey& signer);
StatusOr<WithdrawalReceipt> OpenWithdrawalReceipt(
    std::string_view envelope_json, const crypto::PublicKey& signer);
StatusOr<std::string> SignPurgeReceipt(const PurgeReceipt& receipt,
                                       const crypto::PrivateKey& signer);
StatusOr<PurgeReceipt> OpenPurgeReceipt(std::string_view envelope_json,
                                        const crypto::PublicKey& signer);

}  // namespace tributary::manifest
