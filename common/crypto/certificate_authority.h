#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/crypto/certificate.h"
#include "common/crypto/key.h"

namespace tributary::crypto {

inline constexpr int64_t kDaySeconds = 24 * 60 * 60;

// What a leaf certificate says.
struct LeafOptions {
  std::string common_name;         // at most 64 bytes
  std::vector<std::string> uris;   // SAN URIs
  std::vector<std::string> hosts;  // SAN DNS names and IP addresses
  std::vector<KeyUsage> usages;    // extended key usages; empty: none
  int64_t lifetime_s = 30 * kDaySeconds;
};

// A federation's CA: one self-signed certificate that issues leaves.
class CertificateAuthority {
 public:
  // Makes a key and a self-signed certificate for `common_name`, valid from
  // now on for `lifetime_s`. Save certificate() and key() to keep them.
  static StatusOr<CertificateAuthority> CreateSelfSigned(
      const std::string& common_name, int64_t lifetime_s, const Clock& clock);
  // From a stored pair. INVALID_ARGUMENT when they do not belong together or
  // the certificate is not that of a CA. `clock` outlives the object.
  static StatusOr<CertificateAuthority> Create(Certificate certificate,
                                               PrivateKey key,
                                               const Clock& clock);

  // A certificate for the holder of `key`, valid from five minutes ago (clocks
  // differ) until `lifetime_s` from now, at most until the CA's own end.
  // INVALID_ARGUMENT for malformed names. To certify a signing request, pass
  // its public key: everything else that it asks for is ignored.
  StatusOr<Certificate> Issue(const PublicKey& key,
                              const LeafOptions& options) const;

  const Certificate& certificate() const { return certificate_; }
  const PrivateKey& key() const { return key_; }

 private:
  CertificateAuthority(Certificate certificate, PrivateKey key,
                       const Clock& clock)
      : certificate_(std::move(certificate)),
        key_(std::move(key)),
        clock_(&clock) {}
  Certificate certificate_;
  PrivateKey key_;
  const Clock* clock_;
};

}  // namespace tributary::crypto
