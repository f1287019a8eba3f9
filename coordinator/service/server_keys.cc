#include "coordinator/service/server_keys.h"

#include <algorithm>
#include <set>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/crypto/certificate.h"

namespace tributary::coordinator {
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
  const bool ends_soon =
      certificate.not_after_s() <
      static_cast<int64_t>(clock.NowSeconds()) + kRenewBeforeS;
  if (!ends_soon && !LacksHost(certificate, leaf.hosts)) {
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

}  // namespace

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
  ASSIGN_OR_RETURN(crypto::Certificate ca_certificate,
                   crypto::Certificate::Load(home.certificate("ca")));
  ASSIGN_OR_RETURN(crypto::PrivateKey ca_key,
                   crypto::PrivateKey::Load(home.key("ca")));
  ASSIGN_OR_RETURN(crypto::CertificateAuthority ca,
                   crypto::CertificateAuthority::Create(
                       std::move(ca_certificate), std::move(ca_key), clock));
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
  using crypto::KeyUsage;
  RETURN_IF_ERROR(
      Refresh(home, ca, {"server", hosts, {KeyUsage::kServer}}, clock));
  RETURN_IF_ERROR(Refresh(home, ca, {"signer", {}, {}}, clock));
  RETURN_IF_ERROR(
      Refresh(home, ca, {"operator", {}, {KeyUsage::kClient}}, clock));

  ASSIGN_OR_RETURN(crypto::PrivateKey signer,
                   crypto::PrivateKey::Load(home.key("signer")));
  ASSIGN_OR_RETURN(const crypto::Certificate signer_certificate,
                   crypto::Certificate::Load(home.certificate("signer")));
  ASSIGN_OR_RETURN(
      rpc::TlsIdentity tls,
      rpc::LoadTlsIdentity(home.certificate("ca"), home.certificate("server"),
                           home.key("server")));
  return ServerKeys{.ca = std::move(ca),
                    .signer = std::move(signer),
                    .signer_certificate_pem = signer_certificate.ToPem(),
                    .tls = std::move(tls)};
}

}  // namespace tributary::coordinator
