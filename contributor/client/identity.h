#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/crypto/certificate.h"
#include "common/crypto/key.h"
#include "common/manifest/spiffe.h"
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
  // Issues certificates now.
  crypto::Certificate ca;
  // Its key signs anchors, releases and receipts.
  crypto::Certificate signer;
  // Other CAs that count, while the federation's is replaced.
  std::vector<crypto::Certificate> other_cas = {};
  // CAs and signers of the past, whose receipts still hold.
  std::vector<crypto::Certificate> former = {};
  // Where all this lies; connections follow the files when it is set.
  std::optional<rpc::TlsFiles> files = std::nullopt;

  rpc::TlsIdentity Tls() const;
  // All CAs that count, the issuing one first.
  std::vector<crypto::Certificate> cas() const;
};

// Reads identity/ of a home. NOT_FOUND when `init` has not been run,
// UNAUTHENTICATED when certificates and key do not belong together.
StatusOr<Identity> LoadIdentity(const Home& home);

// Certificates that a coordinator answered with.
struct IssuedCertificates {
  std::string certificate_pem;
  std::string ca_certificate_pem;
  std::string signing_certificate_pem;
  // CAs to trust from now on, the issuing one first; empty: the one above.
  std::vector<std::string> trust = {};
};

// Checks that `issued` is for `key` and this contributor, that a CA of
// `trusted_cas` is still among those to trust, and that one of the latter
// issued everything. UNAUTHENTICATED with the reason otherwise.
struct ExpectedIdentity {
  std::string federation;
  std::string contributor_id;
  crypto::PublicKey key;
  std::vector<crypto::Certificate> trusted_cas;
};
Status CheckIssued(const IssuedCertificates& issued,
                   const ExpectedIdentity& expected, const Clock& clock);

// Writes the certificates; each file is replaced atomically. An empty
// certificate_pem leaves the contributor's own as it is. What is no longer
// used is kept for the receipts of its time.
Status StoreCertificates(const Home& home, const IssuedCertificates& issued);

// The identity of a certificate that one of `cas` issued and that is valid at
// `time_s`. UNAUTHENTICATED otherwise.
StatusOr<manifest::Identity> VerifyMember(
    const crypto::Certificate& certificate,
    const std::vector<crypto::Certificate>& cas, const std::string& federation,
    int64_t time_s);

// File names in identity/.
inline constexpr char kKeyFile[] = "contributor.key.pem";
inline constexpr char kCertificateFile[] = "contributor.crt.pem";
inline constexpr char kCaFile[] = "ca.crt.pem";
inline constexpr char kSignerFile[] = "signer.crt.pem";
inline constexpr char kFormerFile[] = "former.crt.pem";
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
