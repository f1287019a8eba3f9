#pragma once

// Anchors and releases: signed manifests, verified blobs, folders on disk.

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/release_manifest.h"
#include "contributor/cache/blob_cache.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/identity.h"

namespace tributary::contributor {

// What fetching needs; all outlive the calls.
struct FetchContext {
  CoordinatorClient& client;
  const Identity& identity;
  BlobCache& cache;
  const Clock& clock;
  // Told about bytes of all files together; may be empty.
  TransferProgress progress;
};

struct FetchedAnchor {
  manifest::AnchorManifest manifest;
  std::string digest;
  std::filesystem::path directory;
};

// The anchor in a folder `root`/{digest}: its manifest is signed by the
// federation's signer and every file has its digest. `name` is
// "anchors/{id}" or "anchors/current". UNAUTHENTICATED for a bad signature,
// DATA_LOSS for wrong bytes.
StatusOr<FetchedAnchor> FetchAnchor(const FetchContext& context,
                                    const std::string& name,
                                    const std::filesystem::path& root);

// The anchor of that digest as it was fetched before, without a network; its
// files are not looked at. NOT_FOUND when it was not fetched.
StatusOr<FetchedAnchor> LoadFetchedAnchor(const std::filesystem::path& root,
                                          const std::string& digest);

// Verifies every file of a fetched anchor and restores what is missing from the
// cache. NOT_FOUND or DATA_LOSS when it has to be fetched again.
Status VerifyFetchedAnchor(const FetchedAnchor& anchor, BlobCache& cache);

struct FetchedRelease {
  std::string name;  // releases/{number}
  std::string digest;
  manifest::ReleaseManifest manifest;
  v1::Release resource;
  std::filesystem::path directory;
};

// The release as a native release directory. `directory` chooses where it goes
// from its number. FAILED_PRECONDITION: it was withdrawn.
using ReleaseDirectory = std::function<std::filesystem::path(int64_t number)>;
StatusOr<FetchedRelease> FetchRelease(const FetchContext& context,
                                      const std::string& name,
                                      const ReleaseDirectory& directory);

// The signed facts of a release without its files. UNAUTHENTICATED when the
// signature does not hold or the parts do not belong together.
StatusOr<manifest::ReleaseManifest> VerifyRelease(const Identity& identity,
                                                  const v1::Release& release,
                                                  const Clock& clock);

}  // namespace tributary::contributor
