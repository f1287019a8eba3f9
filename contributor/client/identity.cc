#include "contributor/client/identity.h"

#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/manifest/spiffe.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

Status CheckLeaf(const crypto::Certificate& certificate,
                 const ExpectedIdentity& expected, manifest::Role role,
                 int64_t now_s) {
  ASSIGN_OR_RETURN(const manifest::Identity identity,
                   manifest::VerifyIdentity(certificate, expected.trusted_ca,
                                            expected.federation, now_s));
  if (identity.role != role) {
    return Unauthenticated("got a certificate of role {}, wanted {}",
                           manifest::RoleName(identity.role),
                           manifest::RoleName(role));
  }
  if (role == manifest::Role::kContributor &&
      identity.id != expected.contributor_id) {
    return Unauthenticated("got a certificate for contributor {}, wanted {}",
                           identity.id, expected.contributor_id);
  }
  return absl::OkStatus();
}

struct Federation {
  std::string federation;
  std::string contributor_id;
  std::string address;
};

StatusOr<Federation> LoadFederation(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 1 << 16));
  ASSIGN_OR_RETURN(const Json value, ParseJson(text));
  Federation federation;
  for (auto [key, target] :
       {std::pair{"federation", &federation.federation},
        std::pair{"contributor_id", &federation.contributor_id},
        std::pair{"address", &federation.address}}) {
    if (!value.is_object() || !value.contains(key) || !value[key].is_string()) {
      return InvalidArgument("{}: wanted a text \"{}\"", path.string(), key);
    }
    *target = value[key].get<std::string>();
  }
  return federation;
}

}  // namespace

rpc::TlsIdentity Identity::Tls() const {
  return {.ca_certificate_pem = ca.ToPem(),
          .certificate_pem = certificate.ToPem(),
          .private_key_pem = key.ToPem()};
}

StatusOr<Identity> LoadIdentity(const Home& home) {
  RETURN_IF_ERROR(home.RequireInitialised());
  const fs::path folder = home.Identity();
  ASSIGN_OR_RETURN(const Federation federation,
                   LoadFederation(folder / kFederationFile));
  ASSIGN_OR_RETURN(crypto::PrivateKey key,
                   crypto::PrivateKey::Load(folder / kKeyFile));
  ASSIGN_OR_RETURN(crypto::Certificate certificate,
                   crypto::Certificate::Load(folder / kCertificateFile));
  ASSIGN_OR_RETURN(crypto::Certificate ca,
                   crypto::Certificate::Load(folder / kCaFile));
  ASSIGN_OR_RETURN(crypto::Certificate signer,
                   crypto::Certificate::Load(folder / kSignerFile));
  if (!(certificate.public_key() == key.public_key())) {
    return Unauthenticated(
        "{} and {} in {} do not belong together: restore both from a backup or "
        "ask the operator for a new invitation",
        kCertificateFile, kKeyFile, folder.string());
  }
  return Identity{.federation = federation.federation,
                  .contributor_id = federation.contributor_id,
                  .address = federation.address,
                  .key = std::move(key),
                  .certificate = std::move(certificate),
                  .ca = std::move(ca),
                  .signer = std::move(signer)};
}

Status CheckIssued(const IssuedCertificates& issued,
                   const ExpectedIdentity& expected, const Clock& clock) {
  const auto now_s = static_cast<int64_t>(clock.NowSeconds());
  ASSIGN_OR_RETURN(const crypto::Certificate ca,
                   crypto::Certificate::FromPem(issued.ca_certificate_pem));
  if (ca.fingerprint() != expected.trusted_ca.fingerprint()) {
    return Unauthenticated(
        "the coordinator answered with CA {}, but {} is trusted",
        ca.fingerprint(), expected.trusted_ca.fingerprint());
  }
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   crypto::Certificate::FromPem(issued.certificate_pem));
  if (!(certificate.public_key() == expected.key)) {
    return Unauthenticated(
        "the coordinator issued a certificate for another key");
  }
  RETURN_IF_ERROR(
      CheckLeaf(certificate, expected, manifest::Role::kContributor, now_s));
  ASSIGN_OR_RETURN(
      const crypto::Certificate signer,
      crypto::Certificate::FromPem(issued.signing_certificate_pem));
  return Annotate(CheckLeaf(signer, expected, manifest::Role::kSigner, now_s),
                  "signing certificate");
}

Status StoreCertificates(const Home& home, const IssuedCertificates& issued) {
  const fs::path folder = home.Identity();
  RETURN_IF_ERROR(WriteFileAtomic(folder / kCaFile, issued.ca_certificate_pem));
  RETURN_IF_ERROR(
      WriteFileAtomic(folder / kSignerFile, issued.signing_certificate_pem));
  return WriteFileAtomic(folder / kCertificateFile, issued.certificate_pem);
}

bool IsRenewalDue(const crypto::Certificate& certificate, const Clock& clock) {
  const double begin = static_cast<double>(certificate.not_before_s());
  const double end = static_cast<double>(certificate.not_after_s());
  return clock.NowSeconds() >= begin + (end - begin) * 2.0 / 3.0;
}

Status CheckNotExpired(const crypto::Certificate& certificate,
                       const Clock& clock) {
  const auto end = static_cast<double>(certificate.not_after_s());
  if (clock.NowSeconds() > end) {
    return Unauthenticated(
        "this contributor's certificate ended at {}: check the clock, or ask "
        "the operator for a new invitation and run `init` in a new home",
        FormatTime(end));
  }
  return absl::OkStatus();
}

Status CheckSigner(const Identity& identity, int64_t time_s) {
  StatusOr<manifest::Identity> signer = manifest::VerifyIdentity(
      identity.signer, identity.ca, identity.federation, time_s);
  if (!signer.ok()) {
    return Annotate(signer.status(), "the coordinator's signing certificate");
  }
  if (signer->role != manifest::Role::kSigner) {
    return Unauthenticated("{}: got a certificate of role {}, wanted signer",
                           kSignerFile, manifest::RoleName(signer->role));
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor
