#pragma once

// A release as a folder that loads as a model (docs/formats.md): release.json,
// release.dsse.json, anchor/, experts/<contribution>.safetensors,
// router.safetensors, manifests/<contribution>.dsse.json.

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/blob_name.h"
#include "common/manifest/release_manifest.h"

namespace tributary::coordinator {

// Names inside a release directory.
struct ReleaseDirectory {
  explicit ReleaseDirectory(std::filesystem::path root)
      : root(std::move(root)) {}

  std::filesystem::path manifest() const { return root / "release.json"; }
  std::filesystem::path envelope() const { return root / "release.dsse.json"; }
  std::filesystem::path anchor() const { return root / "anchor"; }
  std::filesystem::path router() const { return root / "router.safetensors"; }
  std::filesystem::path expert(const std::string& contribution) const {
    return root / "experts" / (contribution + ".safetensors");
  }
  std::filesystem::path expert_manifest(const std::string& contribution) const {
    return root / "manifests" / (contribution + ".dsse.json");
  }

  const std::filesystem::path root;
};

// The manifest of an anchor inside its folder.
inline constexpr char kAnchorManifestFile[] = "anchor.json";

// Puts the bytes of a blob at a path.
using PlaceBlob = std::function<Status(const manifest::BlobName&,
                                       const std::filesystem::path&)>;

// Makes an anchor's folder: all files of the manifest and the manifest itself.
// A folder that is complete is left alone; a partial one is made again.
Status PlaceAnchor(const manifest::AnchorManifest& anchor,
                   const PlaceBlob& place, const std::filesystem::path& folder);

// Everything in a release but its envelope, which is signed after evaluation.
struct ReleaseParts {
  const manifest::AnchorManifest& anchor;
  const manifest::ReleaseManifest& release;
  // Envelope JSON of every expert manifest, by contribution.
  const std::map<std::string, std::string>& expert_envelopes;
};

// Makes a release's folder from scratch, through a temporary folder beside it
// that is renamed at the end.
Status PlaceRelease(const ReleaseParts& parts, const PlaceBlob& place,
                    const std::filesystem::path& folder);

// Deletes a folder that PlaceAnchor or PlaceRelease made, and what one that was
// interrupted left beside it. OK when there is nothing.
Status RemovePlaced(const std::filesystem::path& folder);

// What VerifyRelease found.
struct VerifiedRelease {
  manifest::ReleaseManifest release;
  manifest::ReleaseStatement statement;
  std::string digest;
  int64_t files = 0;
  uint64_t bytes = 0;
  // What could not be checked because the folder does not hold the manifest
  // that names its digests.
  std::vector<std::string> unchecked;
};

// Checks a release's folder offline: the signature of `signer` over the
// manifest's digest, every file's digest, and that each expert's signed
// manifest is the one that the release names. INVALID_ARGUMENT,
// UNAUTHENTICATED or NOT_FOUND name what does not fit.
StatusOr<VerifiedRelease> VerifyRelease(const std::filesystem::path& folder,
                                        const crypto::PublicKey& signer);

}  // namespace tributary::coordinator
