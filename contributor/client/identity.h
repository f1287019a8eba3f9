#pragma once

#include <string>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/crypto/certificate.h"
#include "common/crypto/key.h"
#include "common/rpc/credentials.h"
#include "contributor/cache/home.h"

namespace tributary::contributor {

// Who this site is to its federation, and whom it trusts.
struct Identity {
  std::string federation;
  std::string contributor_id;
  std::string address;  // host:port of the coordinator
  crypto::PrivateKey key;
  crypto::Certificate certificate;
  crypto::Certificate ca;
  // Its key signs anchors, releases and receipts.
  crypto::Certificate signer;

  rpc::TlsIdentity Tls() const;
};

// Reads identity/ of a home. NOT_FOUND when `init` has not been run,
// UNAUTHENTICATED when certificates and key do not belong together.
StatusOr<Identity> LoadIdentity(const Home& home);

// Certificates that a coordinator answered with.
struct IssuedCertificates {
  std::string certificate_pem;
  std::string ca_certificate_pem;
  std::string signing_certificate_pem;
};

// Checks that `issued` is for `key` and this contributor, and that everything
// is issued by `trusted_ca`. UNAUTHENTICATED with the reason otherwise.
struct ExpectedIdentity {
  std::string federation;
  std::string contributor_id;
  crypto::PublicKey key;
  crypto::Certificate trusted_ca;
};
Status CheckIssued(const IssuedCertificates& issued,
                   const ExpectedIdentity& expected, const Clock& clock);

// Writes the certificates; each file is replaced atomically.
Status StoreCertificates(const Home& home, const IssuedCertificates& issued);

// File names in identity/.
inline constexpr char kKeyFile[] = "contributor.key.pem";
inline constexpr char kCertificateFile[] = "contributor.crt.pem";
inline constexpr char kCaFile[] = "ca.crt.pem";
inline constexpr char kSignerFile[] = "signer.crt.pem";
inline constexpr char kFederationFile[] = "federation.json";

// True from two thirds of the certificate's life on.
bool IsRenewalDue(const crypto::Certificate& certificate, const Clock& clock);

// UNAUTHENTICATED, with what to do, when the certificate has ended.
Status CheckNotExpired(const crypto::Certificate& certificate,
                       const Clock& clock);

// OK when the federation's CA issued the signer's certificate and it is valid
// at `time_s`. UNAUTHENTICATED otherwise.
Status CheckSigner(const Identity& identity, int64_t time_s);

}  // namespace tributary::contributor
