#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/release_manifest.h"
#include "coordinator/release/router_modes.h"

namespace tributary::coordinator {

// An expert as files: what its owner signed and what was uploaded.
struct ContributionFiles {
  std::filesystem::path envelope;
  std::filesystem::path expert;
};

// What is merged.
struct MergeFilesOptions {
  // anchor/ of a release or of a coordinator's home; or
  std::filesystem::path anchor;
  // a release folder to start from, without the experts named in `without`.
  std::filesystem::path release;
  std::vector<std::string> without;
  // Experts to add.
  std::vector<ContributionFiles> contributions;
  std::filesystem::path output;
  // Empty: that of `release`, else discriminant.
  std::string router_mode;
  // For ridge: the statistics file of every contribution.
  std::map<std::string, std::filesystem::path> statistics;
  // Makes the router file of modes that replace contributors' rows
  // (release/router_modes.h) and returns the settings to be listed.
  std::function<StatusOr<std::map<std::string, double>>(
      const std::string& mode, const RouterMaterial& material,
      const std::filesystem::path& router)>
      make_router;
};

// Merges explicit files into a release directory without an envelope, byte for
// byte what a server makes of the same contributions. Signatures are not
// checked: nothing says here whose keys count; every digest of a file that is
// added is. Experts that come from `release` are linked, not read: their rows
// are those of its router file, whose digest is checked. INVALID_ARGUMENT: a
// file is not what its manifest says; NOT_FOUND: `without` names none of its
// experts, or a ridge router lacks statistics; FAILED_PRECONDITION: rows that
// the coordinator made cannot be merged as rows of contributors, or fewer
// experts than a token chooses; ALREADY_EXISTS: the output is there.
StatusOr<manifest::ReleaseManifest> MergeFiles(
    const MergeFilesOptions& options);

// Makes `target` a file or folder with the same content: hard links where the
// file system allows it, copies elsewhere.
Status LinkTree(const std::filesystem::path& source,
                const std::filesystem::path& target);

}  // namespace tributary::coordinator
