#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `serve`.
void AddServeCommand(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
