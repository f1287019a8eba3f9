#pragma once

// Mutual TLS of a federation: every certificate is issued by its own CA, and
// who a peer is stands in the one SAN URI of its certificate.

#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::rpc {

// Where the PEM texts of a connection's end lie. Each file is replaced
// atomically; a file may hold key and certificate.
struct TlsFiles {
  std::filesystem::path ca_certificates;
  std::filesystem::path certificate;
  std::filesystem::path private_key;
};

// PEM texts of one end of a connection. A client without certificate and key
// can only enrol.
struct TlsIdentity {
  std::string ca_certificate_pem;  // one after another when there are several
  std::string certificate_pem;
  std::string private_key_pem;
  // With them new connections use what the files hold by then.
  std::optional<TlsFiles> files = std::nullopt;
};

// New connections use what the files hold, this long after a change at most.
inline constexpr unsigned kReloadSeconds = 1;

// Reads the three files. NOT_FOUND names the missing one.
StatusOr<TlsIdentity> LoadTlsIdentity(
    const std::filesystem::path& ca_certificate,
    const std::filesystem::path& certificate,
    const std::filesystem::path& private_key);

// A client that verifies the server against the CA and the address, and shows
// its own certificate when it has one.
std::shared_ptr<grpc::ChannelCredentials> ClientCredentials(
    const TlsIdentity& identity);

// A server that asks for a client certificate and verifies it against the CA;
// a client without one gets through and is unidentified. The files are watched:
// key, certificate and CAs can be replaced while it serves.
std::shared_ptr<grpc::ServerCredentials> ServerCredentials(
    const TlsFiles& files);

enum class PeerRole {
  kContributor,  // own contributions, anchors, releases
  kOperator,     // the admin service
  kReader,       // anchors and releases
};

// "contributor", "operator", "reader".
std::string_view RoleName(PeerRole role);

// What a verified certificate says about a peer.
struct PeerIdentity {
  std::string federation;
  PeerRole role = PeerRole::kContributor;
  std::string id;
};

// Parses spiffe://<federation>/contributor/<id>, .../operator/<id> or
// .../reader/<id>.
// UNAUTHENTICATED for anything else.
StatusOr<PeerIdentity> ParsePeerUri(std::string_view uri);

// The identity of the peer of a call. UNAUTHENTICATED when it showed no
// certificate, or one without exactly one SAN URI of ours.
StatusOr<PeerIdentity> PeerOf(const grpc::AuthContext& context);

// The certificate that the peer showed, PEM, or nothing.
std::optional<std::string> PeerCertificatePem(const grpc::AuthContext& context);

}  // namespace tributary::rpc
