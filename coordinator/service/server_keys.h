#pragma once

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
struct ServerKeys {
  crypto::CertificateAuthority ca;
  crypto::PrivateKey signer;
  std::string signer_certificate_pem;
  rpc::TlsIdentity tls;
};

// Loads the keys. Certificates of the server, the signer and the operator that
// end within 60 days, and a server certificate that lacks a configured host,
// are issued again for the same key. NOT_FOUND: the home has no keys;
// PERMISSION_DENIED: others can read a key.
StatusOr<ServerKeys> LoadServerKeys(const Home& home, const Settings& settings,
                                    const Clock& clock);

// The host of "host:port" or "[host]:port".
std::string HostOf(const std::string& address);

// True for 0.0.0.0 and ::.
bool IsWildcard(const std::string& host);

}  // namespace tributary::coordinator
