#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `init`.
void AddInitCommand(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
