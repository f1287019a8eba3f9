#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/release_manifest.h"

namespace tributary::coordinator {

// An expert as files: what its owner signed and what was uploaded.
struct ContributionFiles {
  std::filesystem::path envelope;
  std::filesystem::path expert;
};

// Merges explicit files into a release directory without an envelope, byte for
// byte what a server makes of the same contributions. Signatures are not
// checked: nothing says here whose keys count; every digest is.
// INVALID_ARGUMENT: a file is not what its manifest says; ALREADY_EXISTS: the
// output is there.
StatusOr<manifest::ReleaseManifest> MergeFiles(
    const std::filesystem::path& anchor_directory,
    const std::vector<ContributionFiles>& contributions,
    const std::filesystem::path& output);

// Makes `target` a file or folder with the same content: hard links where the
// file system allows it, copies elsewhere.
Status LinkTree(const std::filesystem::path& source,
                const std::filesystem::path& target);

}  // namespace tributary::coordinator
