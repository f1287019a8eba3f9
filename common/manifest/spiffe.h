#pragma once

// Who a certificate speaks for, as the one URI in its subject alternative
// names: spiffe://<federation>/contributor/<id>, spiffe://<federation>/
// coordinator, spiffe://<federation>/operator/<id>, spiffe://<federation>/
// signer.

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/crypto/certificate.h"

namespace tributary::manifest {

enum class Role {
  kContributor,  // has an id
  kCoordinator,  // the server
  kOperator,     // has an id; calls the admin service
  kSigner,       // signs anchors, releases and receipts
};

// "contributor", ...
std::string_view RoleName(Role role);

struct Identity {
  std::string federation;
  Role role = Role::kContributor;
  std::string id;  // empty for coordinator and signer

  // The URI. The identity must be valid (see ParseIdentity).
  std::string ToUri() const;

  friend bool operator==(const Identity&, const Identity&) = default;
};

// INVALID_ARGUMENT unless `uri` is the one spelling of a valid identity.
StatusOr<Identity> ParseIdentity(std::string_view uri);

// The identity that `certificate` states, without verifying it.
// INVALID_ARGUMENT unless it has exactly one URI and that is an identity.
StatusOr<Identity> IdentityOf(const crypto::Certificate& certificate);

// The identity of a certificate that `ca` issued and that is valid at
// `time_s`. UNAUTHENTICATED otherwise, or when its federation is not
// `federation`.
StatusOr<Identity> VerifyIdentity(const crypto::Certificate& certificate,
                                  const crypto::Certificate& ca,
                                  std::string_view federation, int64_t time_s);

}  // namespace tributary::manifest
