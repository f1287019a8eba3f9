#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/crypto/certificate_authority.h"
#include "common/crypto/key.h"
#include "common/rpc/credentials.h"
#include "coordinator/storage/home.h"
#include "coordinator/storage/settings.h"

namespace tributary::coordinator {

// What a server needs from <home>/keys.
//
//   ca, server, signer, operator   a key and a certificate each
//   ca-next                        the CA that takes over, while there is one
//   server.tls.pem, trusted.pem    made of the others, for the TLS library,
//                                  which reads each at one moment
struct ServerKeys {
  // Issued the certificates of server, signer and operator.
  crypto::CertificateAuthority ca;
  // While the CA is replaced: issues to contributors and readers.
  std::optional<crypto::CertificateAuthority> next_ca;
  crypto::PrivateKey signer;
  std::string signer_certificate_pem;
  crypto::Certificate server_certificate;
  crypto::Certificate operator_certificate;

  const crypto::CertificateAuthority& issuing_ca() const {
    return next_ca ? *next_ca : ca;
  }
  // All CAs that count, the issuing one first.
  std::vector<crypto::Certificate> trusted_cas() const;
};

// Names of pairs in keys/.
inline constexpr char kCaName[] = "ca";
inline constexpr char kNextCaName[] = "ca-next";
inline constexpr char kServerName[] = "server";
inline constexpr char kOperatorName[] = "operator";

// Lifetime of a CA.
inline constexpr int64_t kCaLifetimeS = 3650 * crypto::kDaySeconds;

// Loads the keys. Certificates of the server, the signer and the operator that
// end within 60 days, that `ca` did not issue or that are of another key, and a
// server certificate that lacks a configured host, are issued again. NOT_FOUND:
// the home has no keys; PERMISSION_DENIED: others can read a key.
StatusOr<ServerKeys> LoadServerKeys(const Home& home, const Settings& settings,
                                    const Clock& clock);

// Gives the TLS library a certificate of `ca` for the server's key; what
// LoadServerKeys writes replaces it.
Status ShowCertificateOf(const Home& home, const ServerKeys& keys,
                         const crypto::CertificateAuthority& ca);

// Where the TLS library finds what LoadServerKeys wrote for it.
rpc::TlsFiles ServerTlsFiles(const Home& home);

// Whether a CA is being replaced.
bool HasNextCa(const Home& home);

// PEM texts one after another.
std::string JoinPem(const std::vector<crypto::Certificate>& certificates);

// The host of "host:port" or "[host]:port".
std::string HostOf(const std::string& address);

// True for 0.0.0.0 and ::.
bool IsWildcard(const std::string& host);

}  // namespace tributary::coordinator
