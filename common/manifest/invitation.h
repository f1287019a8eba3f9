#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::manifest {

// What the operator hands to a data owner: everything that a first contact
// needs. Single use; the secret is shown nowhere else.
struct Invitation {
  std::string federation;
  std::string contributor_id;
  std::string address;             // host:port
  std::string secret;              // 32 bytes; hexadecimal in the file
  int64_t expire_time_s = 0;       // seconds since the Unix epoch
  std::string ca_certificate_pem;  // trusted because of the fingerprint
  std::string ca_fingerprint;      // "sha256:" and hexadecimal, of the DER

  // Indented JSON with "type": "tributary-invitation/v1" and "expire_time"
  // (RFC 3339, derived). INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  // INVALID_ARGUMENT naming the field that is unknown, missing or wrong, also
  // when the certificate does not have the fingerprint.
  static StatusOr<Invitation> FromJson(std::string_view json);
};

}  // namespace tributary::manifest
