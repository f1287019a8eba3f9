#include "contributor/cache/home.h"

namespace tributary::contributor {
namespace fs = std::filesystem;

Status Home::RequireInitialised() const {
  std::error_code error;
  if (fs::exists(Config(), error) &&
      fs::exists(Identity() / "federation.json", error)) {
    return absl::OkStatus();
  }
  return NotFound(
      "{} is not the home of a contributor: run `tributary-contributor --home "
      "{} init --invite FILE` first",
      root_.string(), root_.string());
}

}  // namespace tributary::contributor
