#include "coordinator/service/server_keys.h"

#include <algorithm>
#include <set>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/crypto/certificate.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kRenewBeforeS = 60 * crypto::kDaySeconds;
constexpr int64_t kLifetimeS = 365 * crypto::kDaySeconds;

struct Leaf {
  std::string name;  // of its files
  std::vector<std::string> hosts;
  std::vector<crypto::KeyUsage> usages;
};

bool LacksHost(const crypto::Certificate& certificate,
               const std::vector<std::string>& hosts) {
  std::set<std::string> present(certificate.dns_names().begin(),
                                certificate.dns_names().end());
  present.insert(certificate.ip_addresses().begin(),
                 certificate.ip_addresses().end());
  return std::any_of(hosts.begin(), hosts.end(), [&](const std::string& host) {
    return !present.contains(host);
  });
}

// Issues a certificate again when it will end soon or lacks a host.
Status Refresh(const Home& home, const crypto::CertificateAuthority& ca,
               const Leaf& leaf, const Clock& clock) {
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Load(home.key(leaf.name)));
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   crypto::Certificate::Load(home.certificate(leaf.name)));
  const auto now_s = static_cast<int64_t>(clock.NowSeconds());
  const bool fits = certificate.not_after_s() >= now_s + kRenewBeforeS &&
                    certificate.public_key() == key.public_key() &&
                    certificate.VerifyChain(ca.certificate(), now_s).ok();
  if (fits && !LacksHost(certificate, leaf.hosts)) {
    return absl::OkStatus();
  }
  std::vector<std::string> hosts = leaf.hosts;
  for (const auto& known :
       {certificate.dns_names(), certificate.ip_addresses()}) {
    for (const std::string& host : known) {
      if (std::count(hosts.begin(), hosts.end(), host) == 0) {
        hosts.push_back(host);
      }
    }
  }
  ASSIGN_OR_RETURN(
      const crypto::Certificate renewed,
      ca.Issue(key.public_key(), {.common_name = certificate.common_name(),
                                  .uris = certificate.uris(),
                                  .hosts = hosts,
                                  .usages = leaf.usages,
                                  .lifetime_s = kLifetimeS}));
  log::Info("issued a new certificate for {}", leaf.name);
  return WriteFileAtomic(home.certificate(leaf.name), renewed.ToPem());
}

// What died between the two renames of a change of the CA: with the key the
// change is decided.
Status CompleteCaChange(const Home& home) {
  std::error_code error;
  if (fs::exists(home.certificate(kNextCaName), error) &&
      !fs::exists(home.key(kNextCaName), error)) {
    fs::rename(home.certificate(kNextCaName), home.certificate(kCaName), error);
    if (error) {
      return ErrnoStatus(error.value(),
                         "replace " + home.certificate(kCaName).string());
    }
  }
  return absl::OkStatus();
}

StatusOr<crypto::CertificateAuthority> LoadCa(const Home& home,
                                              const std::string& name,
                                              const Clock& clock) {
  ASSIGN_OR_RETURN(crypto::Certificate certificate,
                   crypto::Certificate::Load(home.certificate(name)));
  ASSIGN_OR_RETURN(crypto::PrivateKey key,
                   crypto::PrivateKey::Load(home.key(name)));
  return crypto::CertificateAuthority::Create(std::move(certificate),
                                              std::move(key), clock);
}

// Every name and address that the server's certificate has to cover.
std::vector<std::string> ServerHosts(const Settings& settings) {
  std::vector<std::string> hosts = {"localhost", "127.0.0.1"};
  hosts.insert(hosts.end(), settings.public_hosts.begin(),
               settings.public_hosts.end());
  for (const std::string& address :
       {settings.listen_address, settings.public_address}) {
    if (const std::string host = HostOf(address);
        !address.empty() && !IsWildcard(host)) {
      hosts.push_back(host);
    }
  }
  std::sort(hosts.begin(), hosts.end());
  hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
  return hosts;
}

// Key and certificate in one file, so that they are never seen apart.
Status WriteTlsIdentity(const Home& home,
                        const crypto::Certificate& certificate) {
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Load(home.key(kServerName)));
  return WriteFileAtomic(ServerTlsFiles(home).certificate,
                         key.ToPem() + certificate.ToPem(), 0600);
}

Status WriteTlsFiles(const Home& home, const ServerKeys& keys) {
  RETURN_IF_ERROR(WriteTlsIdentity(home, keys.server_certificate));
  return WriteFileAtomic(ServerTlsFiles(home).ca_certificates,
                         JoinPem(keys.trusted_cas()));
}

}  // namespace

std::vector<crypto::Certificate> ServerKeys::trusted_cas() const {
  std::vector<crypto::Certificate> all = {issuing_ca().certificate()};
  if (next_ca) {
    all.push_back(ca.certificate());
  }
  return all;
}

std::string JoinPem(const std::vector<crypto::Certificate>& certificates) {
  std::string pem;
  for (const crypto::Certificate& certificate : certificates) {
    pem += certificate.ToPem();
  }
  return pem;
}

rpc::TlsFiles ServerTlsFiles(const Home& home) {
  const fs::path identity = home.keys() / "server.tls.pem";
  return {.ca_certificates = home.keys() / "trusted.pem",
          .certificate = identity,
          .private_key = identity};
}

Status ShowCertificateOf(const Home& home, const ServerKeys& keys,
                         const crypto::CertificateAuthority& ca) {
  const crypto::Certificate& present = keys.server_certificate;
  std::vector<std::string> hosts = present.dns_names();
  hosts.insert(hosts.end(), present.ip_addresses().begin(),
               present.ip_addresses().end());
  ASSIGN_OR_RETURN(
      const crypto::Certificate certificate,
      ca.Issue(present.public_key(), {.common_name = present.common_name(),
                                      .uris = present.uris(),
                                      .hosts = hosts,
                                      .usages = {crypto::KeyUsage::kServer},
                                      .lifetime_s = kLifetimeS}));
  return WriteTlsIdentity(home, certificate);
}

bool HasNextCa(const Home& home) {
  std::error_code error;
  return fs::exists(home.certificate(kNextCaName), error) &&
         fs::exists(home.key(kNextCaName), error);
}

std::string HostOf(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return host;
}

bool IsWildcard(const std::string& host) {
  return host.empty() || host == "0.0.0.0" || host == "::";
}

StatusOr<ServerKeys> LoadServerKeys(const Home& home, const Settings& settings,
                                    const Clock& clock) {
  RETURN_IF_ERROR(CompleteCaChange(home));
  ASSIGN_OR_RETURN(crypto::CertificateAuthority ca,
                   LoadCa(home, kCaName, clock));
  std::optional<crypto::CertificateAuthority> next_ca;
  if (HasNextCa(home)) {
    ASSIGN_OR_RETURN(next_ca, LoadCa(home, kNextCaName, clock));
  }
  using crypto::KeyUsage;
  RETURN_IF_ERROR(Refresh(
      home, ca, {kServerName, ServerHosts(settings), {KeyUsage::kServer}},
      clock));
  RETURN_IF_ERROR(Refresh(home, ca, {"signer", {}, {}}, clock));
  RETURN_IF_ERROR(
      Refresh(home, ca, {kOperatorName, {}, {KeyUsage::kClient}}, clock));

  ASSIGN_OR_RETURN(crypto::PrivateKey signer,
                   crypto::PrivateKey::Load(home.key("signer")));
  ASSIGN_OR_RETURN(const crypto::Certificate signer_certificate,
                   crypto::Certificate::Load(home.certificate("signer")));
  ASSIGN_OR_RETURN(crypto::Certificate server_certificate,
                   crypto::Certificate::Load(home.certificate(kServerName)));
  ASSIGN_OR_RETURN(crypto::Certificate operator_certificate,
                   crypto::Certificate::Load(home.certificate(kOperatorName)));
  ServerKeys keys{.ca = std::move(ca),
                  .next_ca = std::move(next_ca),
                  .signer = std::move(signer),
                  .signer_certificate_pem = signer_certificate.ToPem(),
                  .server_certificate = std::move(server_certificate),
                  .operator_certificate = std::move(operator_certificate)};
  RETURN_IF_ERROR(WriteTlsFiles(home, keys));
  return keys;
}

}  // namespace tributary::coordinator
