#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds the group `release` with `build`, `list` and `show`; returns the group.
CLI::App& AddReleaseCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
