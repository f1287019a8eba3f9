#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `contributor invite|list|revoke`.
void AddContributorCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
