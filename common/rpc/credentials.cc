#include "common/rpc/credentials.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <vector>

#include "common/base/files.h"

namespace tributary::rpc {
namespace {

constexpr uint64_t kMaxPemBytes = 1 << 20;
constexpr std::string_view kScheme = "spiffe://";

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= 63 &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

std::shared_ptr<grpc::experimental::CertificateProviderInterface> Watch(
    const TlsFiles& files) {
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      files.private_key.string(), files.certificate.string(),
      files.ca_certificates.string(), kReloadSeconds);
}

}  // namespace

StatusOr<TlsIdentity> LoadTlsIdentity(
    const std::filesystem::path& ca_certificate,
    const std::filesystem::path& certificate,
    const std::filesystem::path& private_key) {
  TlsIdentity identity;
  ASSIGN_OR_RETURN(identity.ca_certificate_pem,
                   ReadFile(ca_certificate, kMaxPemBytes));
  ASSIGN_OR_RETURN(identity.certificate_pem,
                   ReadFile(certificate, kMaxPemBytes));
  ASSIGN_OR_RETURN(identity.private_key_pem,
                   ReadFile(private_key, kMaxPemBytes));
  return identity;
}

std::shared_ptr<grpc::ChannelCredentials> ClientCredentials(
    const TlsIdentity& identity) {
  if (identity.files) {
    grpc::experimental::TlsChannelCredentialsOptions options;
    options.set_certificate_provider(Watch(*identity.files));
    options.watch_root_certs();
    options.watch_identity_key_cert_pairs();
    return grpc::experimental::TlsCredentials(options);
  }
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = identity.ca_certificate_pem;
  options.pem_private_key = identity.private_key_pem;
  options.pem_cert_chain = identity.certificate_pem;
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::ServerCredentials> ServerCredentials(
    const TlsFiles& files) {
  grpc::experimental::TlsServerCredentialsOptions options(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

std::string_view RoleName(PeerRole role) {
  switch (role) {
    case PeerRole::kContributor:
      return "contributor";
    case PeerRole::kOperator:
      return "operator";
    case PeerRole::kReader:
      return "reader";
  }
  return "";
}

StatusOr<PeerIdentity> ParsePeerUri(std::string_view uri) {
  const Status refused = Unauthenticated(
      "the certificate's SAN URI is '{}', wanted "
      "spiffe://<federation>/contributor/<id>, .../operator/<id> or "
      ".../reader/<id>",
      uri);
  if (uri.substr(0, kScheme.size()) != kScheme) {
    return refused;
  }
  const std::string_view rest = uri.substr(kScheme.size());
  const size_t first = rest.find('/');
  const size_t second =
      first == rest.npos ? rest.npos : rest.find('/', first + 1);
  if (second == rest.npos) {
    return refused;
  }
  PeerIdentity peer;
  peer.federation = rest.substr(0, first);
  const std::string_view role = rest.substr(first + 1, second - first - 1);
  peer.id = rest.substr(second + 1);
  if (!IsName(peer.federation) || !IsName(peer.id)) {
    return refused;
  }
  for (const PeerRole known :
       {PeerRole::kContributor, PeerRole::kOperator, PeerRole::kReader}) {
    if (role == RoleName(known)) {
      peer.role = known;
      return peer;
    }
  }
  return refused;
}

StatusOr<PeerIdentity> PeerOf(const grpc::AuthContext& context) {
  if (!context.IsPeerAuthenticated()) {
    return Unauthenticated(
        "this call needs a client certificate of the federation; enrol with "
        "an invitation first");
  }
  const std::vector<grpc::string_ref> uris =
      context.FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME);
  if (uris.size() != 1) {
    return Unauthenticated(
        "the client certificate has {} SAN URIs, wanted exactly one",
        uris.size());
  }
  return ParsePeerUri(std::string_view(uris[0].data(), uris[0].size()));
}

std::optional<std::string> PeerCertificatePem(
    const grpc::AuthContext& context) {
  const std::vector<grpc::string_ref> values =
      context.FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (values.size() != 1) {
    return std::nullopt;
  }
  return std::string(values[0].data(), values[0].size());
}

}  // namespace tributary::rpc
