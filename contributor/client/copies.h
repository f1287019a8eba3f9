#pragma once

// Local copies of releases: they are marked when the release is withdrawn.

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "contributor/cache/home.h"
#include "tributary/v1/release.pb.h"

namespace tributary::contributor {

// Put into the directory of a withdrawn release.
inline constexpr char kWithdrawnFile[] = "WITHDRAWN";

// Remembers a copy outside the home, so that it can be marked later. Copies in
// releases/ of the home are known without it.
Status RecordCopy(const Home& home, const std::string& release,
                  const std::filesystem::path& directory);

// Writes WITHDRAWN into every copy of a release that is withdrawn now. Returns
// the directories that were marked by this call.
StatusOr<std::vector<std::filesystem::path>> MarkWithdrawnCopies(
    const Home& home, const std::vector<v1::Release>& releases);

}  // namespace tributary::contributor
