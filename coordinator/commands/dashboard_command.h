#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `dashboard`.
void AddDashboardCommand(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
