#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/blob_name.h"

namespace tributary::manifest {

inline constexpr std::string_view kReleaseManifestType =
    "urn:tributary:release-manifest:v1";

// What a release is: a pure function of anchor, accepted set and routing. It
// has no time and no number, so that the same set gives the same bytes.
struct ReleaseManifest {
  struct Anchor {
    std::string name;    // id
    std::string digest;  // AnchorManifest::Digest()
    friend bool operator==(const Anchor&, const Anchor&) = default;
  };
  struct Expert {
    std::string contribution;     // id
    std::string contributor;      // id
    BlobName blob;                // the expert file
    std::string manifest_digest;  // ExpertManifest::Digest()
    std::vector<int64_t> widths;  // one per layer
    friend bool operator==(const Expert&, const Expert&) = default;
  };
  struct Routing {
    std::string mode = "discriminant";
    int64_t top_k = 0;
    bool renormalise = true;
    std::string bias = "rows";
    // What made the rows of mode ridge or tuned, by name; empty otherwise.
    std::map<std::string, double> settings;
    friend bool operator==(const Routing&, const Routing&) = default;
  };

  Anchor anchor;
  std::vector<Expert> experts;  // sorted bytewise by contribution, may be empty
  Routing routing;
  BlobName router_blob;  // router.safetensors

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  // INVALID_ARGUMENT naming the field that is unknown, missing or wrong, and
  // for bytes that are not canonical.
  static StatusOr<ReleaseManifest> FromJson(std::string_view json);
  // SHA-256 of ToJson(), hexadecimal: the release's digest.
  StatusOr<std::string> Digest() const;

  friend bool operator==(const ReleaseManifest&,
                         const ReleaseManifest&) = default;
};

// Binds a release's name, time, predecessor and evaluation to its manifest.
struct ReleaseStatement {
  struct Evaluation {
    std::string text_label;  // "public" for the coordinator's own
    std::string model;       // "anchor", "release", ...
    double log_loss = 0;     // nats per token
    int64_t tokens = 0;
    friend bool operator==(const Evaluation&, const Evaluation&) = default;
  };
  std::string release;           // "releases/{number}"
  std::string manifest_digest;   // ReleaseManifest::Digest()
  std::string previous_release;  // "releases/{number}" or empty
  int64_t create_time_s = 0;     // seconds since the Unix epoch
  std::vector<Evaluation> evaluation;

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  static StatusOr<ReleaseStatement> FromJson(std::string_view json);

  friend bool operator==(const ReleaseStatement&,
                         const ReleaseStatement&) = default;
};

// Envelope JSON over a statement about {release, manifest_digest}.
StatusOr<std::string> SignRelease(const ReleaseStatement& statement,
                                  const crypto::PrivateKey& signer);
// INVALID_ARGUMENT when malformed, UNAUTHENTICATED when not signed by `signer`.
StatusOr<ReleaseStatement> OpenRelease(std::string_view envelope_json,
                                       const crypto::PublicKey& signer);

}  // namespace tributary::manifest
