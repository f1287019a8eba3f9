#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "coordinator/storage/home.h"
#include "coordinator/storage/settings.h"

namespace tributary::coordinator {

// What `init` is told; everything else stays a commented default.
struct ConfigChoices {
  std::string federation;
  std::string listen_address;
  std::vector<std::string> public_hosts;
  int64_t first_layer = 0;
  std::string compute_lock_file;
};

// coordinator.textproto with a comment for every field. INVALID_ARGUMENT for a
// choice that LoadSettings would refuse.
StatusOr<std::string> MakeConfigText(const ConfigChoices& choices);

// The configuration of a home, checked and with defaults filled in. NOT_FOUND:
// the home has not been made; INVALID_ARGUMENT names field, value and range.
StatusOr<Settings> LoadSettings(const Home& home);

}  // namespace tributary::coordinator
