#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `contribution list|show|accept|reject`.
void AddContributionCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
