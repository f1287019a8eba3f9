#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `anchor publish` and `anchor list`.
void AddAnchorCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
