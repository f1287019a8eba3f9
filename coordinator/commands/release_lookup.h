#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "common/base/status.h"
#include "coordinator/report/release_facts.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {

// A release that commands work on.
struct FoundRelease {
  std::filesystem::path folder;
  std::optional<int64_t> number;  // nothing for a folder outside of a home
};

// By number or "latest" in this home, or a release folder anywhere. NOT_FOUND
// when there is none; FAILED_PRECONDITION when it is not served (any longer),
// or when the folder carries the mark of a withdrawn release.
StatusOr<FoundRelease> FindServedRelease(const Home& home,
                                         const std::string& name);

// Adds what the coordinator knows of a release of its own: state, everybody's
// evaluations of it and of its predecessor, withdrawals that concern it.
Status AddHomeFacts(const Home& home, int64_t number, ReleaseFacts& facts);

}  // namespace tributary::coordinator
