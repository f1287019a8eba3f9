#pragma once

#include <filesystem>

#include "common/manifest/release_manifest.h"
#include "common/model/load.h"

namespace tributary::model {

inline constexpr char kReleaseManifestFile[] = "release.json";
inline constexpr char kReleaseAnchorFolder[] = "anchor";
inline constexpr char kReleaseExpertFolder[] = "experts";
inline constexpr char kReleaseRouterFile[] = "router.safetensors";

// True for a directory with a release manifest.
bool IsRelease(const std::filesystem::path& directory);

// Where a model's config and tokenizer lie: the directory itself, or the
// anchor's folder in a release.
std::filesystem::path ModelFilesDirectory(
    const std::filesystem::path& directory);

// The manifest of a native release directory. NOT_FOUND, or INVALID_ARGUMENT
// as ReleaseManifest::FromJson.
StatusOr<manifest::ReleaseManifest> ReadReleaseManifest(
    const std::filesystem::path& directory);

// Loads a native release: the anchor, each expert checked against the widths
// of the manifest, and the routers. Without experts it is the anchor.
StatusOr<CausalLm> LoadRelease(const std::filesystem::path& directory,
                               const LoadOptions& options);

}  // namespace tributary::model
