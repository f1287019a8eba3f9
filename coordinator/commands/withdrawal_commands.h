#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `withdrawal list|show`.
void AddWithdrawalCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
