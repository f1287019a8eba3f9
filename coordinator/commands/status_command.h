#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `status`.
void AddStatusCommand(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
