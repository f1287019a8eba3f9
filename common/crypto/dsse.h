#pragma once

// Dead Simple Signing Envelope v1.0 (github.com/secure-systems-lab/dsse): a
// payload, its type and signatures over both.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"

namespace tributary::crypto {

// Pre-authentication encoding: the bytes that are signed,
// "DSSEv1 LEN(type) type LEN(payload) payload".
std::string PreAuthenticationEncoding(std::string_view payload_type,
                                      std::string_view payload);

struct Envelope {
  struct Signature {
    std::string key_id;
    std::string bytes;  // DER of ECDSA with SHA-256
  };
  std::string payload_type;
  std::string payload;
  std::vector<Signature> signatures;

  // {"payload","payloadType","signatures":[{"keyid","sig"}]}, canonical.
  std::string ToJson() const;
  // INVALID_ARGUMENT naming the field for anything unknown, missing, malformed
  // or above `max_bytes`. Does not verify.
  static StatusOr<Envelope> FromJson(std::string_view json,
                                     size_t max_bytes = 64u << 20);
};

// An envelope with one signature.
StatusOr<Envelope> SignEnvelope(std::string_view payload_type,
                                std::string_view payload,
                                const PrivateKey& key);

// OK when `envelope` holds a valid signature of `key`. UNAUTHENTICATED when it
// has none of that key, or one that does not hold.
Status VerifyEnvelope(const Envelope& envelope, const PublicKey& key);

}  // namespace tributary::crypto
