#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `backup` and `gc`.
void AddMaintenanceCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
