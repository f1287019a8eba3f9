#pragma once

// The merge: an index over blobs and one router file, made by moving bytes.
// No arithmetic, no LibTorch. The result is a function of its arguments alone,
// whatever the order in which they are listed. The cost is that of the router
// rows: no byte of an expert's matrices is read, hashed or copied.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/release_manifest.h"
#include "coordinator/merge/merge_expert.h"

namespace tributary::coordinator {

// What a merge needs to know of its anchor.
struct MergeAnchor {
  std::string name;
  std::string digest;
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  manifest::ReleaseManifest::Routing routing;
};

struct MergePlan {
  MergeAnchor anchor;
  std::vector<MergeExpert> experts;
};

// The anchor of a manifest, with the routing that its policy asks for.
StatusOr<MergeAnchor> MergeAnchorOf(const manifest::AnchorManifest& anchor,
                                    const std::string& router_mode);

// The anchor in a folder: that of its anchor.json, or for the anchor/ folder of
// a release that of the release.json beside it. NOT_FOUND when there is
// neither.
StatusOr<MergeAnchor> ReadMergeAnchor(const std::filesystem::path& folder,
                                      const std::string& router_mode);

// All experts of a release, their rows taken from its router file, for merging
// with some left out or others beside them. Reads and hashes the router file
// alone. INVALID_ARGUMENT when it is not the one that the release names.
StatusOr<MergePlan> PlanOfRelease(const manifest::ReleaseManifest& release,
                                  const std::filesystem::path& router_file);

// Writes router.safetensors to `router_file`: for every layer of the anchor
// `layers.{l}.router.weight` float32 [E, h] and `layers.{l}.router.bias`
// float32 [E]. Row 0 is the public expert, all zeros; then the experts by
// contribution, bytewise. Returns the manifest, whose router_blob names the
// file. Holds a few layers' rows in memory. INVALID_ARGUMENT: an expert is for
// another anchor, is listed twice, or its file is not the one that its manifest
// describes; NOT_FOUND: a file is missing; FAILED_PRECONDITION: fewer experts
// than a token chooses. Nothing is written then.
StatusOr<manifest::ReleaseManifest> Merge(
    MergePlan plan, const std::filesystem::path& router_file);

}  // namespace tributary::coordinator
