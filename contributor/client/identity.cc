#include "contributor/client/identity.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/rpc/credentials.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxCas = 4;
constexpr uint64_t kMaxPemBytes = 1 << 20;

using Certificates = std::vector<crypto::Certificate>;

// Every certificate of a PEM text.
StatusOr<Certificates> ParseCertificates(std::string_view pem) {
  constexpr std::string_view kEnd = "-----END CERTIFICATE-----";
  Certificates certificates;
  for (size_t end = pem.find(kEnd); end != pem.npos; end = pem.find(kEnd)) {
    ASSIGN_OR_RETURN(
        crypto::Certificate certificate,
        crypto::Certificate::FromPem(pem.substr(0, end + kEnd.size())));
    certificates.push_back(std::move(certificate));
    pem.remove_prefix(end + kEnd.size());
  }
  return certificates;
}

StatusOr<Certificates> LoadCertificates(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(path, kMaxPemBytes));
  StatusOr<Certificates> certificates = ParseCertificates(pem);
  RETURN_IF_ERROR(Annotate(certificates.status(), path.string()));
  if (certificates->empty()) {
    return InvalidArgument("{}: holds no certificate", path.string());
  }
  return certificates;
}

bool Contains(const Certificates& all, const crypto::Certificate& one) {
  return std::any_of(all.begin(), all.end(), [&](const auto& other) {
    return other.fingerprint() == one.fingerprint();
  });
}

// The CAs that an answer asks to trust. One of them is trusted already: who
// answers was verified with it.
StatusOr<Certificates> CheckCas(const IssuedCertificates& issued,
                                const Certificates& trusted) {
  std::vector<std::string> pems = issued.trust;
  if (pems.empty()) {
    pems.push_back(issued.ca_certificate_pem);
  }
  if (pems.size() > kMaxCas) {
    return InvalidArgument("the coordinator names {} CAs, wanted at most {}",
                           pems.size(), kMaxCas);
  }
  Certificates cas;
  for (const std::string& pem : pems) {
    ASSIGN_OR_RETURN(crypto::Certificate ca, crypto::Certificate::FromPem(pem));
    if (!ca.is_ca()) {
      return Unauthenticated(
          "the coordinator names \"{}\" as CA, which is none",
          ca.common_name());
    }
    cas.push_back(std::move(ca));
  }
  if (std::none_of(cas.begin(), cas.end(),
                   [&](const auto& ca) { return Contains(trusted, ca); })) {
    return Unauthenticated(
        "the coordinator answered with CA {}, but {} is trusted",
        cas[0].fingerprint(),
        trusted.empty() ? "none" : trusted[0].fingerprint());
  }
  return cas;
}

// Adds what is about to be replaced to the certificates of the past.
Status KeepFormer(const fs::path& folder, const Certificates& remaining) {
  Certificates former;
  if (auto known = LoadCertificates(folder / kFormerFile); known.ok()) {
    former = *std::move(known);
  }
  const size_t before = former.size();
  for (const char* name : {kCaFile, kSignerFile}) {
    const auto present = LoadCertificates(folder / name);
    if (!present.ok()) {
      continue;  // the first enrolment
    }
    for (const crypto::Certificate& certificate : *present) {
      if (!Contains(remaining, certificate) && !Contains(former, certificate)) {
        former.push_back(certificate);
      }
    }
  }
  if (former.size() == before) {
    return absl::OkStatus();
  }
  std::string pem;
  for (const crypto::Certificate& certificate : former) {
    pem += certificate.ToPem();
  }
  return WriteFileAtomic(folder / kFormerFile, pem);
}

Status CheckLeaf(const crypto::Certificate& certificate,
                 const Certificates& cas, const ExpectedIdentity& expected,
                 manifest::Role role, int64_t now_s) {
  ASSIGN_OR_RETURN(const manifest::Identity identity,
                   VerifyMember(certificate, cas, expected.federation, now_s));
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

std::vector<crypto::Certificate> Identity::cas() const {
  Certificates all = {ca};
  all.insert(all.end(), other_cas.begin(), other_cas.end());
  return all;
}

rpc::TlsIdentity Identity::Tls() const {
  std::string trusted;
  for (const crypto::Certificate& one : cas()) {
    trusted += one.ToPem();
  }
  return {.ca_certificate_pem = trusted,
          .certificate_pem = certificate.ToPem(),
          .private_key_pem = key.ToPem(),
          .files = files};
}

StatusOr<manifest::Identity> VerifyMember(
    const crypto::Certificate& certificate,
    const std::vector<crypto::Certificate>& cas, const std::string& federation,
    int64_t time_s) {
  Status first = Unauthenticated("no CA is trusted");
  for (size_t i = 0; i < cas.size(); ++i) {
    StatusOr<manifest::Identity> identity =
        manifest::VerifyIdentity(certificate, cas[i], federation, time_s);
    if (identity.ok()) {
      return identity;
    }
    if (i == 0) {
      first = identity.status();
    }
  }
  return first;
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
  ASSIGN_OR_RETURN(Certificates cas, LoadCertificates(folder / kCaFile));
  Certificates former;
  if (FileSize(folder / kFormerFile).ok()) {
    ASSIGN_OR_RETURN(former, LoadCertificates(folder / kFormerFile));
  }
  ASSIGN_OR_RETURN(crypto::Certificate signer,
                   crypto::Certificate::Load(folder / kSignerFile));
  if (!(certificate.public_key() == key.public_key())) {
    return Unauthenticated(
        "{} and {} in {} do not belong together: restore both from a backup or "
        "ask the operator for a new invitation",
        kCertificateFile, kKeyFile, folder.string());
  }
  return Identity{
      .federation = federation.federation,
      .contributor_id = federation.contributor_id,
      .address = federation.address,
      .key = std::move(key),
      .certificate = std::move(certificate),
      .ca = cas[0],
      .signer = std::move(signer),
      .other_cas = Certificates(cas.begin() + 1, cas.end()),
      .former = std::move(former),
      .files = rpc::TlsFiles{.ca_certificates = folder / kCaFile,
                             .certificate = folder / kCertificateFile,
                             .private_key = folder / kKeyFile}};
}

Status CheckIssued(const IssuedCertificates& issued,
                   const ExpectedIdentity& expected, const Clock& clock) {
  const auto now_s = static_cast<int64_t>(clock.NowSeconds());
  ASSIGN_OR_RETURN(const Certificates cas,
                   CheckCas(issued, expected.trusted_cas));
  if (!issued.certificate_pem.empty()) {
    ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                     crypto::Certificate::FromPem(issued.certificate_pem));
    if (!(certificate.public_key() == expected.key)) {
      return Unauthenticated(
          "the coordinator issued a certificate for another key");
    }
    RETURN_IF_ERROR(CheckLeaf(certificate, cas, expected,
                              manifest::Role::kContributor, now_s));
  }
  ASSIGN_OR_RETURN(
      const crypto::Certificate signer,
      crypto::Certificate::FromPem(issued.signing_certificate_pem));
  return Annotate(
      CheckLeaf(signer, cas, expected, manifest::Role::kSigner, now_s),
      "signing certificate");
}

Status StoreCertificates(const Home& home, const IssuedCertificates& issued) {
  const fs::path folder = home.Identity();
  std::string trusted;
  for (const std::string& pem : issued.trust) {
    trusted += pem;
  }
  if (trusted.empty()) {
    trusted = issued.ca_certificate_pem;
  }
  ASSIGN_OR_RETURN(const Certificates remaining,
                   ParseCertificates(trusted + issued.signing_certificate_pem));
  RETURN_IF_ERROR(KeepFormer(folder, remaining));
  RETURN_IF_ERROR(WriteFileAtomic(folder / kCaFile, trusted));
  RETURN_IF_ERROR(
      WriteFileAtomic(folder / kSignerFile, issued.signing_certificate_pem));
  if (issued.certificate_pem.empty()) {
    return absl::OkStatus();
  }
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
  if (clock.NowSeconds() <= end) {
    return absl::OkStatus();
  }
  const auto& uris = certificate.uris();
  const StatusOr<rpc::PeerIdentity> who =
      rpc::ParsePeerUri(uris.empty() ? "" : uris[0]);
  if (who.ok() && who->role == rpc::PeerRole::kReader) {
    return Unauthenticated(
        "this reader's certificate ended at {}: check the clock, or ask the "
        "operator for another home",
        FormatTime(end));
  }
  return Unauthenticated(
      "this contributor's certificate ended at {}: check the clock, or ask the "
      "operator for a new invitation under the same id and run `init --invite "
      "FILE` in this home; what was made so far is kept",
      FormatTime(end));
}

Status CheckSigner(const Identity& identity, int64_t time_s) {
  StatusOr<manifest::Identity> signer = VerifyMember(
      identity.signer, identity.cas(), identity.federation, time_s);
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
