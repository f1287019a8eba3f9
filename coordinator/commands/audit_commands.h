#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `audit verify`, which reads the database of the home; a server may run.
// Adds `audit list`, which asks the server.
void AddAuditCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
